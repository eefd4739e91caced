import CleanupDaemon
import Logging
import Postgres
@testable import SessionCleanup
import Synchronization
import Testing
import Time

@Suite struct ServiceLogTests {
    /// Keeps what is logged at level info and above.
    private final class Messages: LogHandler, Sendable {
        struct Entry: Sendable {
            let level: Logger.Level
            let text: String
            let metadata: Logger.Metadata
        }
        private let kept = Mutex<[Entry]>([])
        var entries: [Entry] { kept.withLock(\.self) }
        var texts: [String] { entries.map(\.text) }

        var logLevel: Logger.Level {
            get { .info }
            set {}
        }
        var metadata: Logger.Metadata {
            get { [:] }
            set {}
        }
        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { nil }
            set {}
        }
        func log(event: LogEvent) {
            let entry = Entry(level: event.level, text: "\(event.message)", metadata: event.metadata ?? [:])
            kept.withLock { $0.append(entry) }
        }
    }

    private let messages = Messages()
    private var log: ServiceLog { ServiceLog(logger: Logger(label: "test") { _ in messages }) }
    private let start = UTCInstant(rfc3339: "2026-05-13T12:05:00Z")!

    private func report(
        _ job: Job = .transientSessions, removed: Int = 0, skipped: Int = 0, refused: Int = 0,
        failure: RunFailure? = nil, after: Duration = .milliseconds(800)
    ) -> RunReport {
        RunReport(
            job: job.name, outcome: failure == nil ? .succeeded : .failed, scheduledAt: start, startedAt: start,
            finishedAt: start + after, cutoff: nil,
            progress: RunProgress(rowsDeleted: removed, rowsSkipped: skipped, rowsRefused: refused), attempts: 1,
            failure: failure)
    }

    private let away = RunFailure.database(.unreachable(.refused, message: "connection to db:5432 refused"))
    private let denied = RunFailure.privilegesMissing(.sessions, role: "r", isOnSchema: false, ["DELETE"])

    @Test func aMessageNamesTheJobAndWhatWasRemoved() {
        let log = log
        log.record(.runConcluded(report(removed: 1200)))
        log.record(.runConcluded(report(.dormantSessions(), removed: 1, skipped: 7, refused: 2)))
        log.record(.runConcluded(report()))
        #expect(
            messages.texts == [
                "transient: removed 1,200 expired sessions in 0.8 s",
                "dormant: removed 1 expired session, skipped 7 locked by others, the database refused to delete 2 in 0.8 s",
            ], "a run that found nothing is at level debug")
        // A number, which a handler can tell from text.
        guard case .stringConvertible(let rows)? = messages.entries[0].metadata["rows_deleted"] else {
            Issue.record("text")
            return
        }
        #expect(rows as? Int == 1200)
    }

    @Test func aFailureSaysTheJobTheErrorAndWhatToDo() {
        let log = log
        log.record(.attemptEnded(report(failure: denied), nextAfter: .seconds(2)))
        let text = messages.texts.first ?? ""
        #expect(
            text.hasPrefix(
                "transient: the role r has no DELETE privilege on public.mcp_sessions; retrying in 2 s. GRANT DELETE"))
        log.record(.runConcluded(report(failure: denied)))
        #expect(messages.entries.map(\.level) == [.warning, .error])
        log.record(.runConcluded(report(removed: 3)))
        #expect(
            messages.texts[2].hasPrefix("transient: succeeds again, after 1 failed attempt since 2026-05-13T12:05:00"))
    }

    @Test func aDatabaseThatIsAwayIsOneMessageForAllJobs() {
        let log = log
        log.record(.attemptEnded(report(failure: away), nextAfter: .seconds(2)))
        log.record(.attemptEnded(report(.dormantSessions(), failure: away), nextAfter: .seconds(2)))
        #expect(messages.texts.count == 1, "\(messages.texts)")
        #expect(
            messages.texts[0].hasPrefix(
                "transient: cannot connect: connection to db:5432 refused; retrying in 2 s. Check"))
        log.record(.runConcluded(report(.dormantSessions(), removed: 5)))
        log.record(.runConcluded(report(removed: 5)))
        #expect(messages.texts.count == 4, "\(messages.texts)")
        #expect(messages.texts[1].hasPrefix("The database can be reached again, after 2 failed attempts since "))
    }

    @Test func aRefusedConfigurationSaysWhatToDo() {
        log.record(.reloadFailed("config.yaml:2:3: no such key"))
        #expect(
            messages.texts == [
                "Reload failed: invalid configuration; keeping the previous one. Correct the file, check it with mcp-cleanupd config, and reload.\nconfig.yaml:2:3: no such key"
            ])
    }
}
