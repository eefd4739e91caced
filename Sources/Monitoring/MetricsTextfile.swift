import Glibc

/// The file that a textfile collector reads after a one-shot process has gone: the same families as over HTTP.
///
/// Counters and histograms go on where the file left them, so that they are counters to whoever reads it, although each
/// process lives for a second. Blocks for as long as the file system does.
package struct MetricsTextfile: Sendable {
    package let path: String

    /// A hundred times what we write.
    private static let longest = 1 << 20

    package init(path: String) { self.path = path }

    /// What the file holds; nothing if it is not there, too long or unreadable: counters then start anew.
    package var previous: String {
        // A pipe in its place must not stop us.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16_384)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            guard count >= 0, bytes.count + count <= Self.longest else { return "" }
            if count == 0 { return String(decoding: bytes, as: UTF8.self) }
            bytes += buffer[..<count]
        }
    }

    /// Replaces the file in one step, with mode 0644: a reader sees the old text or the new one, and after a failure the
    /// old one.
    package func write(_ text: String) throws(CannotWriteMetrics) {
        let slash = path.lastIndex(of: "/").map { path.index(after: $0) } ?? path.startIndex
        // In the same directory, for rename(2); hidden, and without the .prom that collectors look for.
        let temporary = "\(path[..<slash]).\(path[slash...]).\(getpid())"
        unlink(temporary)
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw CannotWriteMetrics(path: path, code: errno) }
        var failure: Int32?
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty, failure == nil {
            let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count >= 0 { bytes = bytes.dropFirst(count) } else if errno != EINTR { failure = errno }
        }
        // Whatever the umask; and on the disk before it takes the old one's place.
        if failure == nil, fchmod(descriptor, 0o644) != 0 || fsync(descriptor) != 0 { failure = errno }
        if close(descriptor) != 0, failure == nil { failure = errno }
        if failure == nil, rename(temporary, path) != 0 { failure = errno }
        guard let failure else { return }
        unlink(temporary)
        throw CannotWriteMetrics(path: path, code: failure)
    }
}

/// The metrics text file could not be replaced; what it held is still there.
package struct CannotWriteMetrics: Error, CustomStringConvertible {
    let path: String
    /// An `errno`.
    let code: Int32
    package var description: String {
        "the metrics file \(path) cannot be written: \(String(cString: strerror(code))); what it held before is still there"
    }
}
