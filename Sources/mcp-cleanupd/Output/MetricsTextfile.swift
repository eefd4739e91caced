import Glibc
import Monitoring
import Settings
import Time

/// The file that a textfile collector reads after a one-shot process has ended: HTTP's families without `process_*`.
///
/// Counters and histograms continue from the file's values, so that the collector sees counters, although each process
/// lives for a second, and several may run at a time. Blocks for as long as the file system does.
struct MetricsTextfile {
    let path: String

    /// Adds the counts to those of other processes, and replaces the file. Concurrent processes take turns, so that no
    /// process overwrites another's counts.
    ///
    /// After a failure the file holds what it held before.
    func add(_ metrics: Metrics) throws(CommandFailure) {
        // The directory is locked: a lock file beside the metrics would be left behind, and a lock on the metrics file
        // would disappear with the file, which is replaced.
        let descriptor = open(directory.isEmpty ? "." : String(directory), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        try check(descriptor >= 0)
        // Closing it releases the lock.
        defer { close(descriptor) }
        try lock(descriptor)
        var status = stat()
        // rename(2) would replace a symbolic link itself, for instance root's /dev/stdout.
        if lstat(path, &status) == 0, status.st_mode & S_IFMT != S_IFREG { throw failure("it is no regular file") }
        let previous = try? BoundedFile.read(path, limit: 1 << 20)
        // `nil` if missing, unreadable or above 1 MiB, a hundred times what we write: counters then start at 0.
        var all = metrics
        all.merge(String(decoding: previous ?? [], as: UTF8.self), at: .now)
        try replace(by: all.text)
    }

    /// The path up to and including its last slash; empty without one.
    private var directory: Substring {
        path[..<(path.lastIndex(of: "/").map { path.index(after: $0) } ?? path.startIndex)]
    }

    private func failure(_ reason: String) -> CommandFailure {
        let words = "the metrics file \(path) cannot be written: \(reason); what it held before is still there"
        return CommandFailure(.cannotWrite, words)
    }

    /// - Throws: unless `isDone`, a failure with the message of `errno`.
    private func check(_ isDone: Bool) throws(CommandFailure) {
        if !isDone { throw failure(String(cString: strerror(errno))) }
    }

    /// Reading, adding and writing take milliseconds: a process that holds the lock for 5 seconds was stopped, or is hostile.
    private func lock(_ descriptor: Int32) throws(CommandFailure) {
        for _ in 0..<500 {
            // flock(2) has no time limit: it waits until it has the lock, or not at all.
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return }
            try check(errno == EWOULDBLOCK || errno == EINTR)
            usleep(10_000)
        }
        throw failure("another process has its directory locked")
    }

    /// Replaces the file in one step, with mode 0644: a reader sees the old text or the new one.
    private func replace(by text: String) throws(CommandFailure) {
        // In the same directory, for rename(2); hidden, and not ending with .prom, which collectors look for. All
        // processes use one name, since only one writes at a time: the next one removes what a killed one has left.
        let temporary = "\(directory).\(path[directory.endIndex...]).new"
        unlink(temporary)
        // x: only if nothing is there; e: close-on-exec.
        let file = fopen(temporary, "wxe")
        try check(file != nil)
        do throws(CommandFailure) {
            defer { fclose(file) }
            // The mode must not depend on the umask; the text must be on the disk before it replaces the old file.
            try check(fchmod(fileno(file), 0o644) == 0 && fputs(text, file) >= 0)
            try check(fflush(file) == 0 && fsync(fileno(file)) == 0 && rename(temporary, path) == 0)
        } catch {
            unlink(temporary)
            throw error
        }
    }
}
