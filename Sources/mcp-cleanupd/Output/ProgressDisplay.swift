import Postgres
import SessionCleanup
import Synchronization
import Time

/// A run's progress on one line of a terminal, rewritten in place.
final class ProgressDisplay: Sendable {
    private struct State {
        var lastShown: ContinuousClock.Instant?
        var isShown = false
    }

    private let job: String
    private let started = ContinuousClock.now
    private let state = Mutex(State())

    /// Ten times a second is as often as a person can read.
    private static let interval = Duration.milliseconds(100)

    init(job: String) { self.job = job }

    func show(_ progress: RunProgress) {
        let now = ContinuousClock.now
        let isDue = state.withLock { state in
            if let last = state.lastShown, last.duration(to: now) < Self.interval { return false }
            state.lastShown = now
            state.isShown = true
            return true
        }
        if isDue { write("\r\u{1B}[K\(line(progress, elapsed: started.duration(to: now)))") }
    }

    /// Clears the line, so that what follows starts on a clean one.
    func end() {
        if state.withLock(\.isShown) { write("\r\u{1B}[K") }
    }

    private func line(_ progress: RunProgress, elapsed: Duration) -> String {
        let seconds = max(Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) / 1e18, 0.001)
        let rate = Double(progress.rowsDeleted) / seconds
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

    private func write(_ text: String) {
        do {
            try StandardStream.error.write(text, steers: true)
        } catch {
            // The terminal is gone: there is no display.
        }
    }
}
