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
    /// The same over a Unix socket, whose buffer never holds more than some 200 KiB: what is there at the start of a read
    /// says little, and a server that has filled one of its own buffers of 8 KiB has more to send.
    private static let mostUnreadOfUnixSocket = 4 << 10
    /// A near server sends a megabyte in this time.
    private static let interval: UInt32 = 500

    /// Runs a call of libpq that reads.
    ///
    /// - Parameters:
    ///   - incoming: what had come before the read.
    ///   - limit: the most that may have come since the last row, in bytes. The kernel counts the bytes of a TCP socket.
    ///     For a Unix socket the growth of the process's memory during the read takes their place: libpq keeps all it reads.
    /// - Returns: what `body` returned, or `nil` when the limit was passed; the socket is shut down then.
    static func run<Value: Sendable>(
        _ socket: Int32, _ incoming: IncomingBytes, limit: Int, _ body: () -> Value
    ) -> Value? {
        let isCounted = IncomingBytes.isCounted(socket)
        let mostUnread = isCounted ? mostUnread : mostUnreadOfUnixSocket
        guard IncomingBytes.unread(in: socket) > mostUnread else { return body() }
        let watch = ReadGuard()
        let resident = isCounted ? nil : residentMemory()
        DispatchQueue(label: "mcp-cleanupd.postgres.read-guard").async {
            watch.look(at: socket) {
                if let resident { return incoming.sinceMessage + residentMemory() - resident > limit }
                var now = incoming
                now.willRead(socket)
                return now.sinceMessage > limit
            }
        }
        let value = body()
        // From here on the number may be another socket's.
        return watch.state.withLock { state in
            state.hasEnded = true
            return state.hasTripped ? nil : value
        }
    }

    private func look(at socket: Int32, isAboveLimit: () -> Bool) {
        var isDone = false
        while !isDone {
            isDone = state.withLock { state in
                guard !state.hasEnded else { return true }
                guard isAboveLimit() else { return false }
                // libpq sees the end of the connection.
                state.hasTripped = true
                shutdown(socket, Int32(SHUT_RDWR))
                return true
            }
            if !isDone { usleep(Self.interval) }
        }
    }

    /// Returns the process's resident memory in bytes; 0 where /proc is not mounted.
    private static func residentMemory() -> Int {
        let descriptor = open("/proc/self/statm", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return 0 }
        defer { close(descriptor) }
        return withUnsafeTemporaryAllocation(byteCount: 128, alignment: 1) { buffer in
            let count = read(descriptor, buffer.baseAddress, buffer.count)
            // statm of proc(5): the program's size and the resident size, in pages.
            let fields = buffer.prefix(max(0, count)).split(separator: UInt8(ascii: " "), maxSplits: 2)
            guard fields.count == 3 else { return 0 }
            let pages = fields[1].reduce(0) { $0 * 10 + Int($1 &- UInt8(ascii: "0")) }
            return pages * sysconf(Int32(_SC_PAGESIZE))
        }
    }
}
