import Glibc

/// The journal's own entrance: entries with fields of our own.
///
/// Its protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL) is spoken here, and not through libsystemd, whose `sd_journal_sendv`
/// reports success when there is no journal.
package struct Journal: Sendable {
    private let socket: UnixSocket

    /// One field of an entry.
    package struct Field: Hashable, Sendable {
        /// Capitals, digits and underscores, not beginning with an underscore or a digit.
        package let name: String
        package let value: String

        package init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    /// Where journald listens.
    package static let entrance = "/run/systemd/journal/socket"

    /// A value that is longer than so many bytes is cut, so that an entry always fits into a datagram.
    static let longestValue = 8192

    /// - Throws: an `errno` when the path cannot be a socket's, or the system has no more sockets. That nobody listens is
    ///   found out when an entry is sent.
    package init(path: String = entrance) throws(SystemError) { socket = try UnixSocket(path) }

    /// Whether what is written to a descriptor goes to the journal: systemd.exec(5), `$JOURNAL_STREAM`.
    package static func isConnected(to descriptor: Int32, environment: [String: String]) -> Bool {
        guard let stream = environment["JOURNAL_STREAM"], !stream.isEmpty else { return false }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { return false }
        return stream == "\(status.st_dev):\(status.st_ino)"
    }

    /// Sends one entry. Blocks while the journal does not read, as writing to standard error would.
    ///
    /// - Throws: an `errno`, `ENOENT` or `ECONNREFUSED` where the journal is gone.
    package func send(_ fields: [Field]) throws(SystemError) {
        try socket.send(fields.flatMap(Self.encoded))
    }

    private static func encoded(_ field: Field) -> [UInt8] {
        let value = Array(field.value.utf8.prefix(longestValue))
        guard value.contains(UInt8(ascii: "\n")) else {
            return Array(field.name.utf8) + [UInt8(ascii: "=")] + value + [UInt8(ascii: "\n")]
        }
        // A value of several lines goes by its length.
        let length = withUnsafeBytes(of: UInt64(value.count).littleEndian) { Array($0) }
        return Array(field.name.utf8) + [UInt8(ascii: "\n")] + length + value + [UInt8(ascii: "\n")]
    }
}
