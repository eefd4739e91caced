import Glibc

/// The file that a textfile collector reads after a one-shot process has gone: the same families as over HTTP.
///
/// Counters and histograms continue from the file's values, so that they are counters to the collector, although each
/// process lives for a second, and several may at a time. Blocks for as long as the file system does.
package struct MetricsTextfile: Sendable {
    private let path: String

    package init(path: String) { self.path = path }

    /// Replaces the text by what `change` makes of it. Processes that do so at a time take turns, so that what one of
    /// them adds is never lost to another.
    ///
    /// After a failure the file holds what it held before.
    package func update(_ change: (_ previous: String) -> String) throws(CannotWriteMetrics) {
        // The directory, and not a file beside the metrics', which would be left; a lock on the file itself would be gone
        // with it.
        let descriptor = open(directory.isEmpty ? "." : String(directory), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        try check(descriptor >= 0)
        // Unlocks it.
        defer { close(descriptor) }
        try lock(descriptor)
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

    /// - Throws: with `errno` as the reason.
    private func check(_ isDone: Bool) throws(CannotWriteMetrics) {
        if !isDone { throw CannotWriteMetrics(path: path, reason: String(cString: strerror(errno))) }
    }

    /// Reading, adding and writing take milliseconds: a process that holds the lock for 5 seconds was stopped, or is hostile.
    private func lock(_ descriptor: Int32) throws(CannotWriteMetrics) {
        for _ in 0..<500 {
            // flock(2) has no time limit: it waits until it has the lock, or not at all.
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return }
            try check(errno == EWOULDBLOCK || errno == EINTR)
            usleep(10_000)
        }
        throw CannotWriteMetrics(path: path, reason: "another process has its directory locked")
    }

    /// The file's text; empty if the file is missing, unreadable or a hundred times what we write: counters then start at 0.
    private var previous: String {
        // A pipe in its place must not stop us.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16_384)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            guard count >= 0, bytes.count + count <= 1 << 20 else { return "" }
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
        try check(descriptor >= 0)
        do throws(CannotWriteMetrics) {
            defer { close(descriptor) }
            var bytes = Array(text.utf8)[...]
            while !bytes.isEmpty {
                let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
                try check(count >= 0 || errno == EINTR)
                bytes = bytes.dropFirst(max(count, 0))
            }
            // For every umask; and on the disk before it replaces the old file.
            try check(fchmod(descriptor, 0o644) == 0 && fsync(descriptor) == 0)
            try check(rename(temporary, path) == 0)
        } catch {
            unlink(temporary)
            throw error
        }
    }
}

/// The metrics text file could not be replaced; what it held is still there.
package struct CannotWriteMetrics: Error, CustomStringConvertible {
    let path: String
    let reason: String

    package var description: String {
        "the metrics file \(path) cannot be written: \(reason); what it held before is still there"
    }
}
