import Dispatch
import Glibc
import Synchronization
import Time

/// Counts the bytes that a server sends, before libpq reads them, and ends a read that takes in too many: libpq takes a
/// message of any length into memory before it hands it out, and keeps up to six copies of an error meanwhile.
struct IncomingBytes {
    /// The bytes that have come and have not yet turned out to be a row or the end of a statement.
    private var sinceMessage = 0
    /// All bytes that had come by the last read, as the kernel counts them; `nil` for a socket without such a count.
    private var received: Int?

    /// The bytes of the scripts before that were no rows: notices, which libpq hands out, or settings, which it keeps.
    private var beforeScript = 0
    /// The process's memory when `beforeScript` first passed the limit.
    private var residentAtFirst: Int?

    /// A script begins, whose bytes are counted from zero.
    /// - Returns: false if the ones before it sent more than the limit again and again, and the process has grown by more
    ///   than four times the limit meanwhile: long notices alone make the allocator keep more than twice the limit.
    mutating func scriptBegins(limit: Int) -> Bool {
        (beforeScript, sinceMessage) = (beforeScript + sinceMessage, 0)
        guard beforeScript > limit else { return true }
        beforeScript = 0
        let resident = HostProcess.residentBytes
        residentAtFirst = residentAtFirst ?? resident
        return resident - (residentAtFirst ?? resident) <= limit * 4
    }

    /// Runs a call of libpq that reads. It reads for as long as the kernel has more of a long message. A near server
    /// can keep up with that, so that a hundred megabytes come within one call.
    /// - Parameter limit: the most bytes that may have come since the last row. The kernel counts the bytes of a TCP
    ///   socket. For a Unix socket the growth of the process's memory takes their place: libpq keeps all it reads.
    /// - Returns: what `body` returned, or `nil` when the limit was passed; the socket may be shut down then.
    mutating func read<Value: Sendable>(_ socket: Int32, limit: Int, _ body: () -> Value) -> Value? {
        willRead(socket)
        guard sinceMessage <= limit else { return nil }
        // Little unread data is taken in one read, before much more can come. A Unix socket's buffer never holds more
        // than some 200 KiB, and a server that has filled one of its own buffers of 8 KiB has more to send.
        guard Self.unread(in: socket) > (received == nil ? 4 << 10 : 64 << 10) else { return body() }
        let watch = ReadGuard()
        let (before, resident) = (self, received == nil ? HostProcess.residentBytes : 0)
        DispatchQueue(label: "mcp-cleanupd.postgres.read-guard").async {
            watch.look(at: socket) {
                if before.received == nil { return before.sinceMessage + HostProcess.residentBytes - resident > limit }
                var now = before
                now.willRead(socket)
                return now.sinceMessage > limit
            }
        }
        let value = body()
        return watch.end() ? value : nil
    }

    /// Counts what libpq may read next.
    private mutating func willRead(_ socket: Int32) {
        let unread = Self.unread(in: socket)
        if let now = Self.received(by: socket) {
            // Another socket's count begins at 0 again.
            if let received, now < received { (self.received, sinceMessage) = (0, 0) }
            sinceMessage += now - (received ?? now - unread)
            received = now
        } else {
            // A Unix socket has no such count. If libpq leaves some of these bytes for its next read, they count twice.
            // It does so only in a message that is no row: a row's own read takes all there is.
            sinceMessage += unread
        }
    }

    /// Takes a row or the end of a statement out of the count, by its length in the protocol.
    mutating func messageCame(bytes: Int) { sinceMessage = received == nil ? 0 : max(0, sinceMessage - bytes) }

    /// Keeps the kernel from buffering much more than libpq has asked for; its own choice can be six megabytes. 200 KiB
    /// still allow 2 MB/s from a server 100 ms away.
    static func limitReceiveBuffer(of socket: Int32) {
        var size: Int32 = 200 << 10
        // If the kernel refuses, the count is only less exact.
        _ = setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout.size(ofValue: size)))
    }

    /// Returns the number of bytes that the kernel holds for the next read.
    private static func unread(in socket: Int32) -> Int {
        var count: Int32 = 0
        // 0x541B: FIONREAD of asm-generic/ioctls.h, which Swift does not import.
        return ioctl(socket, 0x541B, &count) == 0 ? Int(count) : 0
    }

    /// Returns the number of bytes that have come over a TCP socket since it was opened; `nil` for other sockets.
    private static func received(by socket: Int32) -> Int? {
        // tcpi_bytes_received in linux/tcp.h (Linux 4.1), a field that the C library's shorter struct tcp_info lacks.
        let offset = 128
        return withUnsafeTemporaryAllocation(byteCount: offset + 8, alignment: 8) { buffer in
            var length = socklen_t(buffer.count)
            guard getsockopt(socket, Int32(IPPROTO_TCP), TCP_INFO, buffer.baseAddress, &length) == 0,
                length == buffer.count
            else { return nil }
            return Int(exactly: buffer.load(fromByteOffset: offset, as: UInt64.self))
        }
    }
}

/// Watches one read of libpq's from another thread.
private final class ReadGuard: Sendable {
    private enum State {
        case reading, ended, tripped
    }

    private let state = Mutex(State.reading)
    /// In microseconds; a near server sends a megabyte in this time.
    private static let interval: UInt32 = 500

    /// Checks at each interval until the read has ended, and shuts the socket down when the read is above the limit.
    func look(at socket: Int32, isAboveLimit: () -> Bool) {
        while state.withLock({ state in
            if state == .reading, isAboveLimit() {
                state = .tripped
                shutdown(socket, Int32(SHUT_RDWR))
            }
            return state == .reading
        }) { usleep(Self.interval) }
    }

    /// Ends the watch: from here on the descriptor may be another socket's. Returns false if the socket was shut down.
    func end() -> Bool {
        state.withLock { state in
            if state == .reading { state = .ended }
            return state == .ended
        }
    }
}
