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
        StandardStream.error.attempt("\r\u{1B}[K\(line(progress, elapsed: started.duration(to: now)))", steers: true)
    }

    /// Clears the line, so that what follows starts on a clean one.
    func end() {
        if lastShown.withLock({ $0 != nil }) { StandardStream.error.attempt("\r\u{1B}[K", steers: true) }
    }

    private func line(_ progress: RunProgress, elapsed: Duration) -> String {
        let rate = Double(progress.rowsDeleted) / max(elapsed.fractionalSeconds, 0.001)
        let left = max(progress.rowsFound - progress.rowsDeleted - progress.rowsSkipped, 0)
        var parts = [
            "\(progress.rowsDeleted.groupedText) of \(progress.isSearchComplete ? "" : "at least ")\(progress.rowsFound.groupedText) deleted"
        ]
        if progress.rowsFound > 0 { parts.append("\(progress.rowsDeleted * 100 / progress.rowsFound) %") }
        if rate >= 1 {
            parts.append("\(Int(rate).groupedText) rows/s")
            parts.append("\(Int((Double(left) / rate).rounded(.up)).groupedText) s left")
        }
        return "\(job): \(parts.joined(separator: ", "))".visible
    }
}
