import CSystemd
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

    /// Sends one entry, made visible: sd_journal_sendv(3). Blocks while journald does not read, as writing to standard
    /// error would. Throws `.failed(ENOENT)` if there is no journal. Names have capitals, digits and underscores, a
    /// capital first.
    package static func send(_ fields: [(name: String, value: String)]) throws(SystemdError) {
        // The function reports success if the socket does not exist.
        guard access(socket, F_OK) == 0 else { throw .failed(errno) }
        let function = try SystemdLibrary.function("sd_journal_sendv", as: sd_journal_sendv_function.self)
        let fields = fields.map { Array("\($0.name)=\($0.value.visibleLines)".utf8) }
        var bytes = fields.flatMap(\.self)
        let result = bytes.withUnsafeMutableBytes { buffer in
            var offset = 0
            let vectors = fields.map { field in
                defer { offset += field.count }
                // Within the buffer, which has all fields one after the other and outlives the call.
                return iovec(iov_base: buffer.baseAddress?.advanced(by: offset), iov_len: field.count)
            }
            return function(vectors, Int32(vectors.count))
        }
        try SystemdLibrary.check(result)
    }
}
