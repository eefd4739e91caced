import Glibc

/// Counts the bytes that a server sends, before libpq reads them: libpq takes a message of any length into memory before it
/// hands it out, and keeps up to six copies of an error meanwhile.
struct IncomingBytes {
    /// All that has come so far.
    private var total = 0
    /// All that has come before the message that is being read.
    private var mark: Int?
    /// True if `total` is the kernel's own count rather than a sum of estimates.
    private var isExact = false

    /// The bytes that have come without being a row or the end of a statement.
    var sinceMessage: Int { max(0, total - (mark ?? 0)) }

    /// Counts what libpq may read next.
    mutating func willRead(_ socket: Int32) {
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

    /// Leaves a row or the end of a statement out of the count.
    ///
    /// - Parameter bytes: its length in the protocol.
    mutating func messageCame(bytes: Int) {
        mark = isExact ? (mark ?? 0) + bytes : total
    }

    /// Keeps the kernel from taking much more than libpq has asked for: a buffer that the kernel sizes by itself can hold
    /// six megabytes, none of which could be told from what is being read. 200 KiB still allow 2 MB/s from a server 100 ms
    /// away.
    static func limitReceiveBuffer(of socket: Int32) {
        var size: Int32 = 200 << 10
        // Where it is refused the count is less exact.
        _ = setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout.size(ofValue: size)))
    }

    /// True for a socket whose bytes the kernel counts.
    static func isCounted(_ socket: Int32) -> Bool { received(by: socket) != nil }

    /// Returns the number of bytes that the kernel holds for the next read.
    static func unread(in socket: Int32) -> Int {
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
}
