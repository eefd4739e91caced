import CLibpq

/// A request to cancel whatever statement a connection runs; usable from any thread: libpq manual, PQcancel.
final class CancelRequest: Sendable {
    // PGcancel is a copy of the connection's address and key, which PQcancel only reads.
    private nonisolated(unsafe) let pointer: OpaquePointer

    init?(_ connection: OpaquePointer) {
        guard let pointer = PQgetCancel(connection) else { return nil }
        self.pointer = pointer
    }

    deinit { PQfreeCancel(pointer) }

    /// Connects, asks, and waits for the server to hang up. Blocks.
    func send() -> Bool {
        var message = [CChar](repeating: 0, count: 256)
        return PQcancel(pointer, &message, Int32(message.count)) == 1
    }
}
