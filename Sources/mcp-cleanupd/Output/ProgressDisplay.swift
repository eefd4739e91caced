import SessionCleanup
import Synchronization
import Time

/// A run's progress on one line of a terminal, rewritten in place.
final class ProgressDisplay: Sendable {
    private let job: String
    private let started = ContinuousClock.now
    private let lastShown = Mutex<ContinuousClock.Instant?>(nil)

    init(job: String) { self.job = job }

    func show(_ progress: RunProgress) {
        let now = ContinuousClock.now
        let isDue = lastShown.withLock { last in
            // Ten times a second is as often as a person can read.
            if let last, last.duration(to: now) < .milliseconds(100) { return false }
            last = now
            return true
        }
        guard isDue else { return }
        let found = progress.rowsFound
        let (deleted, left) = (progress.rowsDeleted, max(found - progress.rowsDeleted - progress.rowsSkipped, 0))
        let rate = Double(deleted) / max(started.duration(to: now).fractionalSeconds, 0.001)
        let least = progress.isSearchComplete ? "" : "at least "
        var parts = ["\(deleted.groupedText) of \(least)\(found.groupedText) deleted"]
        if found > 0 { parts.append("\(deleted * 100 / found) %") }
        if rate >= 1 {
            parts.append("\(Int(rate).groupedText) rows/s")
            parts.append("\(Int((Double(left) / rate).rounded(.up)).groupedText) s left")
        }
        let line = "\(job): \(parts.joined(separator: ", "))".visible
        StandardStream.error.attempt("\r\u{1B}[K\(line)", steers: true)
    }

    /// Clears the line, so that what follows starts on a clean one.
    func end() {
        if lastShown.withLock({ $0 != nil }) { StandardStream.error.attempt("\r\u{1B}[K", steers: true) }
    }
}
