import Glibc
import Time

/// The journal: entries with fields of our own.
package enum Journal {
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

    /// The socket that libsystemd sends to.
    private static let socket = "/run/systemd/journal/socket"

    /// True if what is written to the descriptor goes to the journal: systemd.exec(5), `$JOURNAL_STREAM`.
    package static func isConnected(to descriptor: Int32, environment: [String: String]) -> Bool {
        guard let stream = environment["JOURNAL_STREAM"], !stream.isEmpty else { return false }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { return false }
        return stream == "\(status.st_dev):\(status.st_ino)"
    }

    /// Sends one entry, visible. Blocks while journald does not read, as writing to standard error would.
    ///
    /// - Throws: `SystemdError`; `.failed(ENOENT)` if there is no journal.
    package static func send(_ fields: [Field]) throws(SystemdError) {
        // sd_journal_sendv(3) reports success if the socket does not exist.
        guard access(socket, F_OK) == 0 else { throw .failed(errno) }
        try SystemdLibrary.sendToJournal(fields.map { "\($0.name)=\($0.value.visibleLines)" })
    }
}
