import CleanupDaemon
import CleanupSchedule
import Postgres
import SessionCleanup
import Time

// `/status.json`: what the page shows, for programs. docs/monitoring.md describes the keys.

extension ServiceState {
    func document(at now: TwoClocks) -> JSON {
        let obstacles = obstacles(at: now)
        let failedReload = failedReload.map { reload -> JSON in
            ["at": reload.at, "message": reload.why, "runbook": Runbook.failedReload]
        }
        return [
            "version": version, "host": host, "started_at": startedAt, "now": now.wall, "database": database,
            "ready": obstacles.isEmpty, "obstacles": obstacles, "stopping": isStopping,
            "rows_deleted_24h": rowsDeletedInLastDay(at: now), "counts_all_processes": countsAllProcesses,
            "last_run": lastRun?.document, "configured_at": configuredAt, "failed_reload": failedReload,
            "jobs": jobs.map { $0.document(at: now) },
        ]
    }
}

extension JobState {
    fileprivate func document(at now: TwoClocks) -> JSON {
        [
            "job": job.name, "short_name": job.shortName, "state": condition(at: now).rawValue,
            "enabled": job.isEnabled, "schedule": job.schedule.expression, "time_zone": job.timeZone?.name ?? "UTC",
            "next_run_at": nextFireTime, "running": underWay.map(running), "last_run": lastRun?.document,
            "last_run_at": lastEnd?.wall, "last_success_at": lastSuccess?.wall, "overdue_at": overdueAt,
            "rows_deleted_24h": deletions.total(at: now), "oldest_overdue_seconds": lastLook?.oldestOverdue,
            "oldest_overdue_measured_at": lastLook?.cutoff, "deadline_seconds": job.deadline,
            "success_budget_seconds": budget, "failing": failing?.document, "missed_fires": missedFires,
            "coalesced_fires": coalescedFires, "recent_runs": recent.map(\.document),
        ]
    }

    private func running(_ run: RunUnderWay) -> JSON {
        [
            "scheduled_at": run.scheduledAt, "started_at": run.startedAt, "origin": run.origin.rawValue,
            "attempt": run.attempt, "rows_deleted": run.rowsDeleted, "in_another_process": isHeldElsewhere,
            "next_attempt_at": retryAt,
        ]
    }
}

extension JobState.Failing {
    fileprivate var document: JSON {
        [
            "since": since, "attempts": attempts, "sqlstate": failure.sqlState?.rawValue, "message": "\(failure)",
            "hint": failure.hint, "runbook": Runbook.section(for: failure),
        ]
    }
}

extension JobState.FinishedRun {
    fileprivate var document: JSON {
        [
            "job": report.job, "outcome": report.outcome.rawValue, "scheduled_at": report.scheduledAt,
            "started_at": report.startedAt, "finished_at": report.finishedAt,
            "rows_deleted": report.progress.rowsDeleted, "rows_skipped": report.progress.rowsSkipped,
            "rows_refused": report.progress.rowsRefused, "attempts": report.attempts, "in_another_process": !isOurs,
            "start_delay_seconds": startDelay,
        ]
    }
}
