import Glibc
import Time

/// The journal: entries with fields of our own.
package enum Journal {
    /// The socket that libsystemd sends to.
    private static let socket = "/run/systemd/journal/socket"

    /// True if what is written to the descriptor goes to the journal: systemd.exec(5), `$JOURNAL_STREAM`.
    package static func isConnected(to descriptor: Int32, environment: [String: String]) -> Bool {
        guard let stream = environment["JOURNAL_STREAM"], !stream.isEmpty else { return false }
        var status = stat()
        return fstat(descriptor, &status) == 0 && stream == "\(status.st_dev):\(status.st_ino)"
    }

    /// Sends one entry, visible. Blocks while journald does not read, as writing to standard error would. Throws
    /// `.failed(ENOENT)` if there is none. Names have capitals, digits and underscores, and begin with a capital.
    package static func send(_ fields: [(name: String, value: String)]) throws(SystemdError) {
        // sd_journal_sendv(3) reports success if the socket does not exist.
        guard access(socket, F_OK) == 0 else { throw .failed(errno) }
        try SystemdLibrary.sendToJournal(fields.map { "\($0.name)=\($0.value.visibleLines)" })
    }
}
