import Dispatch
import Glibc
import Synchronization

/// Counts the bytes that a server sends, before libpq reads them, and ends a read that takes in too many: libpq takes a
/// message of any length into memory before it hands it out, and keeps up to six copies of an error meanwhile.
struct IncomingBytes {
    /// All that has come so far.
    private var total = 0
    /// All that has come before the message that is being read.
    private var mark: Int?
    /// True if `total` is the kernel's own count rather than a sum of estimates.
    private var isExact = false

    /// The bytes that have come without being a row or the end of a statement.
    private var sinceMessage: Int { max(0, total - (mark ?? 0)) }

    /// Runs a call of libpq that reads: for as long as the kernel has more of a long message, and a near server can
    /// keep up with it, so that a hundred megabytes come within one call.
    /// - Parameter limit: the most that may have come since the last row, in bytes. The kernel counts the bytes of a
    ///   TCP socket. For a Unix socket the growth of the process's memory takes their place: libpq keeps all it reads.
    /// - Returns: what `body` returned, or `nil` when the limit was passed; the socket may be shut down then.
    mutating func read<Value: Sendable>(_ socket: Int32, limit: Int, _ body: () -> Value) -> Value? {
        willRead(socket)
        guard sinceMessage <= limit else { return nil }
        // What is there is taken in one read, before much more can come. A Unix socket's buffer never holds more than
        // some 200 KiB, and a server that has filled one of its own buffers of 8 KiB has more to send.
        guard Self.unread(in: socket) > (isExact ? 64 << 10 : 4 << 10) else { return body() }
        let watch = ReadGuard()
        let before = self
        let resident = isExact ? 0 : Self.residentMemory()
        DispatchQueue(label: "mcp-cleanupd.postgres.read-guard").async {
            watch.look(at: socket) {
                if !before.isExact { return before.sinceMessage + Self.residentMemory() - resident > limit }
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
        if let received = Self.received(by: socket) {
            isExact = true
            // Another socket begins again.
            if received < total { mark = 0 }
            total = received
            if mark == nil { mark = received - Self.unread(in: socket) }
        } else {
            // A Unix socket has no such count. libpq may leave a part of this for its next read, which counts it twice:
            // only for what is no row, and a row's own read takes all there is.
            mark = mark ?? 0
            total += Self.unread(in: socket)
        }
    }

    /// Leaves a row or the end of a statement out of the count, by its length in the protocol.
    mutating func messageCame(bytes: Int) {
        mark = isExact ? (mark ?? 0) + bytes : total
    }

    /// Keeps the kernel from taking much more than libpq has asked for: its own choice can be six megabytes. 200 KiB
    /// still allow 2 MB/s from a server 100 ms away.
    static func limitReceiveBuffer(of socket: Int32) {
        var size: Int32 = 200 << 10
        // Where it is refused the count is less exact.
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
        // tcpi_bytes_received of linux/tcp.h (Linux 4.1), whose struct tcp_info the C library does not have in full.
        let offset = 128
        return withUnsafeTemporaryAllocation(byteCount: offset + 8, alignment: 8) { buffer in
            var length = socklen_t(buffer.count)
            guard getsockopt(socket, Int32(IPPROTO_TCP), TCP_INFO, buffer.baseAddress, &length) == 0,
                length == buffer.count
            else { return nil }
            return Int(exactly: buffer.load(fromByteOffset: offset, as: UInt64.self))
        }
    }

    /// Returns the process's resident memory in bytes; 0 where /proc is not mounted.
    private static func residentMemory() -> Int {
        let descriptor = open("/proc/self/statm", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return 0 }
        defer { close(descriptor) }
        return withUnsafeTemporaryAllocation(byteCount: 128, alignment: 1) { buffer in
            let count = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
            // statm of proc(5): the program's size and the resident size, in pages.
            let fields = buffer.prefix(max(0, count)).split(separator: UInt8(ascii: " "), maxSplits: 2)
            guard fields.count == 3 else { return 0 }
            return fields[1].reduce(0) { $0 * 10 + Int($1 &- UInt8(ascii: "0")) } * sysconf(Int32(_SC_PAGESIZE))
        }
    }
}

/// Watches a read from another thread.
private final class ReadGuard: Sendable {
    private enum State {
        case reading, ended, tripped
    }

    private let state = Mutex(State.reading)
    /// In microseconds; a near server sends a megabyte in this time.
    private static let interval: UInt32 = 500

    /// Looks until the read has ended, and shuts the socket down when it is above the limit.
    func look(at socket: Int32, isAboveLimit: () -> Bool) {
        while isReading(socket, isAboveLimit) { usleep(Self.interval) }
    }

    private func isReading(_ socket: Int32, _ isAboveLimit: () -> Bool) -> Bool {
        state.withLock { state in
            if state == .reading, isAboveLimit() {
                state = .tripped
                shutdown(socket, Int32(SHUT_RDWR))
            }
            return state == .reading
        }
    }

    /// Ends the watch: from here on the number may be another socket's. Returns false if the socket was shut down.
    func end() -> Bool {
        state.withLock { state in
            if state == .reading { state = .ended }
            return state == .ended
        }
    }
}
