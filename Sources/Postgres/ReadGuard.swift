import CLibpq
import Dispatch
import Glibc
import Synchronization

/// Ends a read that takes in more than it may while it lasts.
///
/// Once libpq knows that a message is long, one call reads on for as long as the kernel has more, and a near server can
/// keep up with it: a hundred megabytes come within one call.
final class ReadGuard: Sendable {
    private struct State {
        var hasEnded = false
        var hasTripped = false
    }

    private let state = Mutex(State())

    /// Less than this in the kernel's hands is taken in one read, before much more can come.
    private static let mostUnread = 64 << 10
    /// A near server sends a megabyte in this time.
    private static let interval: UInt32 = 500

    /// Runs a call of libpq that reads.
    ///
    /// - Parameters:
    ///   - incoming: what had come before the read.
    ///   - limit: the most that may have come since the last row, in bytes. Only TCP sockets are watched: over a Unix socket
    ///     the server's process sends eight kilobytes at a time, and the read keeps up with it.
    /// - Returns: what `body` returned, or `nil` when the limit was passed; the socket is shut down then.
    static func run<Value: Sendable>(
        _ socket: Int32, _ incoming: IncomingBytes, limit: Int, _ body: () -> Value
    ) -> Value? {
        guard IncomingBytes.isCounted(socket), IncomingBytes.unread(in: socket) > mostUnread else { return body() }
        let watch = ReadGuard()
        DispatchQueue(label: "mcp-cleanupd.postgres.read-guard").async { watch.look(at: socket, incoming, limit) }
        let value = body()
        // From here on the number may be another socket's.
        return watch.state.withLock { state in
            state.hasEnded = true
            return state.hasTripped ? nil : value
        }
    }

    private func look(at socket: Int32, _ before: IncomingBytes, _ limit: Int) {
        var incoming = before
        var isDone = false
        while !isDone {
            isDone = state.withLock { state in
                guard !state.hasEnded else { return true }
                incoming.willRead(socket)
                guard incoming.sinceMessage > limit else { return false }
                // libpq sees the end of the connection.
                state.hasTripped = true
                shutdown(socket, Int32(SHUT_RDWR))
                return true
            }
            if !isDone { usleep(Self.interval) }
        }
    }
}
