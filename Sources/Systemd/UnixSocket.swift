import Glibc

/// A datagram socket that sends to one Unix address: how a process talks to systemd and to the journal.
///
/// Safe to use from any thread. Closed when it is let go.
final class UnixSocket: Sendable {
    private let descriptor: Int32
    /// A `sockaddr_un`, as long as unix(7) has it for this address.
    private let address: [UInt8]

    /// - Parameter text: an absolute path, or `@` and the name of an abstract socket.
    /// - Throws: an `errno`: `EAFNOSUPPORT` for text that is neither, `ENAMETOOLONG`, or why there is no socket.
    init(_ text: String) throws(SystemError) {
        guard text.hasPrefix("/") || (text.hasPrefix("@") && text.utf8.count > 1) else {
            throw SystemError(code: EAFNOSUPPORT)
        }
        guard text.utf8.count < MemoryLayout.size(ofValue: sockaddr_un().sun_path) else {
            throw SystemError(code: ENAMETOOLONG)
        }
        var bytes = withUnsafeBytes(of: sa_family_t(AF_UNIX)) { Array($0) }
        // A name in the abstract namespace begins with a zero byte and ends with the address: unix(7).
        bytes += text.hasPrefix("@") ? [0] + Array(text.utf8.dropFirst()) : Array(text.utf8) + [0]
        address = bytes
        descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw SystemError(code: errno) }
    }

    deinit { close(descriptor) }

    /// Sends one datagram. Blocks as long as the receiver's queue is full.
    ///
    /// - Throws: an `errno`; `ENOENT` and `ECONNREFUSED` where nobody receives.
    func send(_ message: [UInt8]) throws(SystemError) {
        while true {
            let sent = address.withUnsafeBytes { address in
                sendto(
                    descriptor, message, message.count, Int32(MSG_NOSIGNAL),
                    address.baseAddress?.assumingMemoryBound(to: sockaddr.self), socklen_t(address.count))
            }
            if sent >= 0 { return }
            // Ends, since signals end.
            guard errno == EINTR else { throw SystemError(code: errno) }
        }
    }
}

/// What the system answered to a call.
package struct SystemError: Error, Hashable, Sendable, CustomStringConvertible {
    /// An `errno`.
    package let code: Int32

    package init(code: Int32) { self.code = code }

    package var description: String { String(cString: strerror(code)) }
}
