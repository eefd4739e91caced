import CleanupDaemon
import CleanupSchedule
import Postgres
import SessionCleanup
import Time

/// `/status.json`: what the page shows, for programs. docs/monitoring.md describes the keys.
struct StatusDocument {
    let json: JSON

    init(_ state: ServiceState, at now: TwoClocks) {
        let failedReload = state.failedReload.map { reload -> [(String, JSON)] in
            [("at", .instant(reload.at)), ("message", .string(reload.why)), ("runbook", .string(Runbook.failedReload))]
        }
        let obstacles = state.obstacles(at: now)
        json = .object([
            ("version", .string(state.version)), ("host", .string(state.host)),
            ("started_at", .instant(state.startedAt)), ("now", .instant(now.wall)), ("database", JSON(state.database)),
            ("ready", .boolean(obstacles.isEmpty)), ("obstacles", .array(obstacles.map(JSON.string))),
            ("stopping", .boolean(state.isStopping)),
            ("rows_deleted_24h", .integer(state.rowsDeletedInLastDay(at: now))),
            ("counts_all_processes", .boolean(state.countsAllProcesses)),
            ("last_run", .optional(state.lastRun, Self.run)),
            ("configured_at", .instant(state.configuredAt)), ("failed_reload", .optional(failedReload, JSON.object)),
            ("jobs", .array(state.jobs.map { Self.job($0, now) })),
        ])
    }

    private static func job(_ state: JobState, _ now: TwoClocks) -> JSON {
        .object([
            ("job", .string(state.job.name)), ("short_name", JSON(state.job.shortName)),
            ("state", .string(state.condition(at: now).rawValue)), ("enabled", .boolean(state.job.isEnabled)),
            ("schedule", .string(state.job.schedule.expression)),
            ("time_zone", .string(state.job.timeZone?.name ?? "UTC")),
            ("next_run_at", .instant(state.nextFireTime)),
            ("running", .optional(state.underWay) { running($0, state) }),
            ("last_run", .optional(state.lastRun, run)), ("last_run_at", .instant(state.lastEnd?.wall)),
            ("last_success_at", .instant(state.lastSuccess?.wall)), ("overdue_at", .instant(state.overdueAt)),
            ("rows_deleted_24h", .integer(state.deletions.total(at: now))),
            ("oldest_overdue_seconds", .seconds(state.lastLook?.oldestOverdue)),
            ("oldest_overdue_measured_at", .instant(state.lastLook?.cutoff)),
            ("deadline_seconds", .seconds(state.job.deadline)), ("success_budget_seconds", .seconds(state.budget)),
            ("failing", .optional(state.failing, failing)), ("missed_fires", .integer(state.missedFires)),
            ("coalesced_fires", .integer(state.coalescedFires)), ("recent_runs", .array(state.recent.map(run))),
        ])
    }

    private static func running(_ run: JobState.RunUnderWay, _ state: JobState) -> JSON {
        .object([
            ("scheduled_at", .instant(run.scheduledAt)), ("started_at", .instant(run.startedAt)),
            ("origin", .string(run.origin.rawValue)), ("attempt", .integer(run.attempt)),
            ("rows_deleted", .integer(run.rowsDeleted)), ("in_another_process", .boolean(state.isHeldElsewhere)),
            ("next_attempt_at", .instant(state.retryAt)),
        ])
    }

    private static func failing(_ failing: JobState.Failing) -> JSON {
        .object([
            ("since", .instant(failing.since)), ("attempts", .integer(failing.attempts)),
            ("sqlstate", JSON(failing.failure.sqlState?.rawValue)), ("message", .string("\(failing.failure)")),
            ("hint", JSON(failing.failure.hint)), ("runbook", .string(Runbook.section(for: failing.failure))),
        ])
    }

    private static func run(_ run: JobState.FinishedRun) -> JSON {
        let (report, progress) = (run.report, run.report.progress)
        return .object([
            ("job", .string(report.job)), ("outcome", .string(report.outcome.rawValue)),
            ("scheduled_at", .instant(report.scheduledAt)), ("started_at", .instant(report.startedAt)),
            ("finished_at", .instant(report.finishedAt)), ("rows_deleted", .integer(progress.rowsDeleted)),
            ("rows_skipped", .integer(progress.rowsSkipped)), ("rows_refused", .integer(progress.rowsRefused)),
            ("attempts", .integer(report.attempts)), ("in_another_process", .boolean(!run.isOurs)),
            ("start_delay_seconds", .seconds(run.startDelay)),
        ])
    }
}

extension JSON {
    fileprivate static func optional<Value>(_ value: Value?, _ json: (Value) -> JSON) -> JSON {
        value.map(json) ?? .null
    }
    fileprivate static func instant(_ instant: UTCInstant?) -> JSON { JSON(instant.map { "\($0)" }) }
    fileprivate static func seconds(_ duration: Duration?) -> JSON {
        duration.map { .decimal($0.fractionalSeconds) } ?? .null
    }
}
