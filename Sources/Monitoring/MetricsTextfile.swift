import Glibc

/// The file that a textfile collector reads after a one-shot process has gone: the same families as over HTTP.
///
/// Counters and histograms continue from the file's values, so that they are counters to the collector, although each
/// process lives for a second, and several may at a time. Blocks for as long as the file system does.
package struct MetricsTextfile: Sendable {
    package let path: String

    /// A hundred times what we write.
    private static let longest = 1 << 20

    package init(path: String) { self.path = path }

    /// Replaces the text by what `change` makes of it. Processes that do so at a time take turns, so that what one of
    /// them adds is never lost to another.
    ///
    /// After a failure the file holds what it held before.
    package func update(_ change: (_ previous: String) -> String) throws(CannotWriteMetrics) {
        let lock = try lockedDirectory()
        // Unlocks it.
        defer { close(lock) }
        var status = stat()
        // rename(2) would replace the link: root's /dev/stdout, for instance.
        if lstat(path, &status) == 0, status.st_mode & S_IFMT != S_IFREG {
            throw CannotWriteMetrics(path: path, reason: "it is no regular file")
        }
        try replace(by: change(previous))
    }

    /// As far as its last slash.
    private var directory: Substring {
        path[..<(path.lastIndex(of: "/").map { path.index(after: $0) } ?? path.startIndex)]
    }

    /// Reading, adding and writing take milliseconds: a process that holds the lock for 5 seconds was stopped, or is hostile.
    private static let lockAttempts = (count: 500, microsecondsApart: UInt32(10_000))

    /// The directory, and not a file beside the metrics', which would be left; a lock on the file itself would be gone with it.
    private func lockedDirectory() throws(CannotWriteMetrics) -> Int32 {
        let descriptor = open(directory.isEmpty ? "." : String(directory), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw CannotWriteMetrics(path: path, errno) }
        for _ in 0..<Self.lockAttempts.count {
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return descriptor }
            guard errno == EWOULDBLOCK || errno == EINTR else {
                defer { close(descriptor) }
                throw CannotWriteMetrics(path: path, errno)
            }
            // flock(2) has no time limit: it waits until it has the lock, or not at all.
            usleep(Self.lockAttempts.microsecondsApart)
        }
        close(descriptor)
        throw CannotWriteMetrics(path: path, reason: "another process has its directory locked")
    }

    /// The file's text; empty if the file is missing, too long or unreadable: counters then start at 0.
    private var previous: String {
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

    /// In one step, with mode 0644: a reader sees the old text or the new one.
    private func replace(by text: String) throws(CannotWriteMetrics) {
        // In the same directory, for rename(2); hidden, and without the .prom that collectors look for. One name for all,
        // since one writes at a time: what a killed process leaves is the next one's to remove.
        let temporary = "\(directory).\(path[directory.endIndex...]).new"
        unlink(temporary)
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw CannotWriteMetrics(path: path, errno) }
        var failure: Int32?
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty, failure == nil {
            let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count >= 0 { bytes = bytes.dropFirst(count) } else if errno != EINTR { failure = errno }
        }
        // For every umask; and on the disk before it replaces the old file.
        if failure == nil, fchmod(descriptor, 0o644) != 0 || fsync(descriptor) != 0 { failure = errno }
        if close(descriptor) != 0, failure == nil { failure = errno }
        if failure == nil, rename(temporary, path) != 0 { failure = errno }
        guard let failure else { return }
        unlink(temporary)
        throw CannotWriteMetrics(path: path, failure)
    }
}

/// The metrics text file could not be replaced; what it held is still there.
package struct CannotWriteMetrics: Error, CustomStringConvertible {
    let path: String
    let reason: String

    init(path: String, reason: String) {
        self.path = path
        self.reason = reason
    }

    /// - Parameter code: an `errno`.
    init(path: String, _ code: Int32) { self.init(path: path, reason: String(cString: strerror(code))) }

    package var description: String {
        "the metrics file \(path) cannot be written: \(reason); what it held before is still there"
    }
}
