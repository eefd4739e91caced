import Glibc
import Time

/// Standard output or standard error, unbuffered: a line is written whole or the error is known.
struct StandardStream: Sendable {
    static let output = StandardStream(descriptor: STDOUT_FILENO)
    static let error = StandardStream(descriptor: STDERR_FILENO)

    private let descriptor: Int32

    var isTerminal: Bool { isatty(descriptor) == 1 }

    /// Writes all of the text, visible.
    ///
    /// - Parameters:
    ///   - steers: true for a text with our own control characters, such as colors. Texts of others must have been made
    ///     visible before they became parts of it.
    ///   - isListing: true if it is no error that a reader closed the pipe, as `head` does: it has all that it wanted.
    func write(_ text: String, steers: Bool = false, isListing: Bool = false) throws(CommandFailure) {
        var bytes = Array((steers ? text : text.visibleLines).utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno != EINTR {
                if isListing, errno == EPIPE { return }
                let reason = String(cString: strerror(errno))
                throw CommandFailure(.cannotWrite, "standard output cannot be written: \(reason)")
            }
            bytes = bytes.dropFirst(max(count, 0))
        }
    }

    func list(_ text: String, steers: Bool = false) throws(CommandFailure) {
        try write(text, steers: steers, isListing: true)
    }

    /// Writes a text, and ignores an error, which could be reported nowhere else.
    func attempt(_ text: String, steers: Bool = false) {
        // Nothing is left to write to.
        try? write(text, steers: steers)
    }

    /// Opens a descriptor for each standard stream that the caller closed: otherwise the next file or connection would
    /// get the number, and what is written to the stream. Writing to such a stream still fails.
    static func reserveDescriptors() {
        for descriptor in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO] where fcntl(descriptor, F_GETFD) < 0 {
            // The lowest free number, which is this one.
            _ = open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY)
        }
    }
}
