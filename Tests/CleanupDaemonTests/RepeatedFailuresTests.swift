@testable import CleanupDaemon
import Logging
@testable import SessionCleanup
import Synchronization
import Testing
import Time

@Suite struct RepeatedFailuresTests {
    private let start = UTCInstant(secondsSinceEpoch: 1_778_000_000)

    /// A shutdown, or the end of the interval, concludes a run that waits for its next attempt: no attempt was made
    /// then.
    @Test func countsTheAttemptOnceThatARunIsConcludedWith() {
        var failures = RepeatedFailures()
        #expect(failures.attemptFailed(cause: "locked", at: start, wasLast: false) == .init(since: start))
        #expect(
            failures.attemptFailed(cause: "locked", at: start, wasLast: true, wasCounted: true) == .init(since: start))
        #expect(
            failures.attemptFailed(cause: "locked", at: start + .seconds(130), wasLast: true)
                == .init(attempts: 2, since: start))
    }

    @Test func countsEachAttempt() {
        var failures = RepeatedFailures()
        for seconds in 0..<3 {
            _ = failures.attemptFailed(cause: "locked", at: start + .seconds(seconds), wasLast: false)
        }
        #expect(
            failures.attemptFailed(cause: "locked", at: start + .seconds(9), wasLast: true)
                == .init(attempts: 4, since: start))
        let end = failures.runWentWell()
        #expect(end?.attempts == 4 && end?.since == start)
    }

    /// The log that the operator reads when the service is stopped between two attempts.
    @Test func aRunThatIsStoppedBetweenTwoAttemptsHasFailedOnce() {
        let lines = Lines()
        let log = ServiceLog(logger: Logger(label: "test") { _ in lines.handler })
        var report = RunReport(
            job: "job", outcome: .failed, scheduledAt: start, startedAt: start, finishedAt: start + .seconds(1))
        report.failure = .serverReadOnly
        log.record(.attemptEnded(report, nextAfter: .seconds(1)))
        log.record(.runConcluded(report))
        #expect(
            lines.texts.count == 2 && !lines.texts.contains { $0.contains("attempts have failed") }, "\(lines.texts)")
        report.finishedAt = start + .seconds(700)
        log.record(.runConcluded(report))
        #expect(lines.texts.last?.contains("2 attempts have failed") ?? false, "\(lines.texts)")
    }

    private final class Lines: Sendable {
        private let written = Mutex<[String]>([])
        var texts: [String] { written.withLock { $0 } }
        var handler: Handler { Handler(lines: self) }

        struct Handler: LogHandler {
            let lines: Lines
            var metadata: Logger.Metadata = [:]
            var logLevel = Logger.Level.debug

            subscript(metadataKey key: String) -> Logger.Metadata.Value? {
                get { metadata[key] }
                set { metadata[key] = newValue }
            }

            func log(event: LogEvent) { lines.written.withLock { $0.append("\(event.message)") } }
        }
    }
}
