import CleanupDaemon
import CleanupSchedule
import Postgres
import SessionCleanup
import Time

/// `/status.json`: what the page shows, for programs. docs/monitoring.md describes the keys.
struct StatusDocument {
    let json: JSON

    init(_ state: ServiceState, at now: Scheduler.Now) {
        json = .object([
            ("version", .string(state.version)), ("host", .string(state.host)),
            ("started_at", .string("\(state.startedAt.wall)")),
            ("now", .string("\(now.wall)")), ("database", JSON(state.database)),
            ("ready", .boolean(state.obstacles(at: now).isEmpty)),
            ("obstacles", .array(state.obstacles(at: now).map(JSON.string))),
            ("stopping", .boolean(state.isStopping)),
            ("rows_deleted_24h", .integer(state.rowsDeletedInLastDay(at: now))),
            ("counts_all_processes", .boolean(state.countsAllProcesses)),
            ("last_run", state.lastRun.map { Self.run($0) } ?? .null),
            ("configured_at", .string("\(state.configuredAt)")),
            (
                "failed_reload",
                state.failedReload.map {
                    .object([
                        ("at", .string("\($0.at)")), ("message", .string($0.why)),
                        ("runbook", .string(Runbook.failedReload)),
                    ])
                } ?? .null
            ),
            ("jobs", .array(state.jobs.map { Self.job($0, now) })),
        ])
    }

    private static func job(_ state: JobState, _ now: Scheduler.Now) -> JSON {
        .object([
            ("job", .string(state.job.name)), ("short_name", JSON(state.job.shortName)),
            ("state", .string(state.condition(at: now).rawValue)), ("enabled", .boolean(state.job.isEnabled)),
            ("schedule", .string(state.job.schedule.expression)),
            ("time_zone", .string(state.job.timeZone?.name ?? "UTC")),
            ("next_run_at", instant(state.nextFireTime)), ("running", running(state)),
            ("last_run", state.lastRun.map { run($0) } ?? .null), ("last_run_at", instant(state.lastEnd?.at)),
            ("last_success_at", instant(state.lastSuccess?.moment.at)), ("overdue_at", instant(state.overdueAt)),
            ("rows_deleted_24h", .integer(state.deletions.total(at: now.elapsed))),
            ("oldest_overdue_seconds", state.lastLook?.oldestOverdue.map { .decimal($0.fractionalSeconds) } ?? .null),
            ("oldest_overdue_measured_at", instant(state.lastLook?.cutoff)),
            ("deadline_seconds", .decimal(state.job.deadline.fractionalSeconds)),
            ("success_budget_seconds", .decimal(state.budget.fractionalSeconds)),
            ("failing", failing(state)), ("missed_fires", .integer(state.missedFires)),
            ("coalesced_fires", .integer(state.coalescedFires)), ("recent_runs", .array(state.recent.map { run($0) })),
        ])
    }

    private static func running(_ state: JobState) -> JSON {
        guard let underWay = state.underWay else { return .null }
        return .object([
            ("scheduled_at", .string("\(underWay.scheduledAt)")), ("started_at", .string("\(underWay.startedAt.wall)")),
            ("origin", .string(underWay.origin.rawValue)), ("attempt", .integer(underWay.attempt)),
            ("rows_deleted", .integer(underWay.rowsDeleted)), ("in_another_process", .boolean(state.isHeldElsewhere)),
            ("next_attempt_at", instant(state.retryAt?.wall)),
        ])
    }

    private static func failing(_ state: JobState) -> JSON {
        guard let failing = state.failing else { return .null }
        return .object([
            ("since", .string("\(failing.since)")), ("attempts", .integer(failing.attempts)),
            ("sqlstate", JSON(failing.failure.sqlState?.rawValue)), ("message", .string("\(failing.failure)")),
            ("hint", JSON(failing.failure.hint)), ("runbook", .string(Runbook.section(for: failing.failure))),
        ])
    }

    private static func run(_ run: JobState.FinishedRun) -> JSON {
        let (report, progress) = (run.report, run.report.progress)
        return .object([
            ("job", .string(report.job)), ("outcome", .string(report.outcome.rawValue)),
            ("scheduled_at", .string("\(report.scheduledAt)")), ("started_at", .string("\(report.startedAt)")),
            ("finished_at", .string("\(report.finishedAt)")), ("rows_deleted", .integer(progress.rowsDeleted)),
            ("rows_skipped", .integer(progress.rowsSkipped)), ("rows_refused", .integer(progress.rowsRefused)),
            ("attempts", .integer(report.attempts)), ("in_another_process", .boolean(!run.isOurs)),
            ("start_delay_seconds", run.startDelay.map { .decimal($0.fractionalSeconds) } ?? .null),
        ])
    }

    private static func instant(_ instant: UTCInstant?) -> JSON { JSON(instant.map { "\($0)" }) }
}
