import CLibpq

/// A request to cancel the statement that a connection runs. For any thread: libpq manual, PQcancel.
final class CancelRequest: Sendable {
    // PGcancel is a copy of the connection's address and key, which PQcancel only reads.
    private nonisolated(unsafe) let pointer: OpaquePointer

    init?(_ connection: OpaquePointer) {
        guard let pointer = PQgetCancel(connection) else { return nil }
        self.pointer = pointer
    }

    deinit { PQfreeCancel(pointer) }

    /// Connects, sends the request, and waits until the server closes this connection. Blocks without a limit.
    ///
    /// - Returns: true if the request was sent.
    func send() -> Bool {
        var message = [CChar](repeating: 0, count: 256)
        return PQcancel(pointer, &message, Int32(message.count)) == 1
    }
}
