import ArgumentParser
import CleanupDaemon
import Logging
import Monitoring
import Postgres
import SessionCleanup
import Settings
import Time

/// `--once`: every enabled job now, one after the other.
struct OnceCommand: Sendable {
    var common: CommonOptions?
    var jobNames: [String] = []
    var isDryRun = false
    var isJSON = false
    var metricsTextfile: String?

    /// The longest time for a heartbeat: less than the service's, since the caller waits for the end.
    private static let heartbeatLimit = Duration.seconds(3)

    func run() async throws {
        let asked = UTCInstant.now
        let setup = try CommandSetup(common)
        let jobs = try setup.jobs(named: jobNames).filter { job in
            guard job.isEnabled || jobNames.isEmpty else {
                throw ValidationError("The job \(job.name) is disabled by the configuration.")
            }
            return job.isEnabled
        }
        let record = metricsTextfile.map { _ in ServiceRecord(jobs: setup.jobs, version: RootCommand.version) }
        let access = try setup.databaseAccess(
            saysWhich: StandardStream.error.isTerminal, onConnection: { record?.record(.connectionTried($0)) })
        let code = try await Signals.canceling { await perform(jobs, setup, access, askedAt: asked, record) }
        // Each run has been reported already.
        if code != .success { throw ExitCode(code.rawValue) }
    }

    private func perform(
        _ jobs: [Job], _ setup: CommandSetup, _ access: DatabaseAccess, askedAt: UTCInstant, _ record: ServiceRecord?
    ) async -> Sysexit {
        var series = RunSeries(access)
        var failures: [(job: Job, failure: RunFailure)] = []
        // A line that cannot be written does not keep the next job from running; the error is reported at the end.
        var unwritten: CommandFailure?
        func write(_ line: String) {
            guard unwritten == nil else { return }
            do {
                try StandardStream.output.write(line + "\n")
            } catch {
                unwritten = error
            }
        }
        let notifyFailed: @Sendable () -> Void = { record?.recordNotifyFailure() }
        let heartbeats = isDryRun ? nil : RunHeartbeats(setup, limit: Self.heartbeatLimit, onFailure: notifyFailed)
        for job in jobs where !Task.isCancelled {
            do throws(RunFailure) {
                if isDryRun {
                    let preview = try await series.preview(setup.run(job))
                    write(isJSON ? "\(preview.json)" : preview.line(named: job.displayName))
                } else {
                    let report = await execute(job, setup, &series, askedAt: askedAt, record)
                    heartbeats?.record(.runConcluded(report))
                    write(isJSON ? "\(report.json)" : report.line(named: job.displayName))
                    if let failure = report.failure { throw failure }
                }
            } catch {
                failures.append((job, error))
            }
        }
        await series.end()
        // In format `journal` each run has its entry already.
        if isDryRun || setup.logFormat != .journal { setup.report(failures) }
        // One call for each of the two URLs may be left.
        await heartbeats?.finish(within: Self.heartbeatLimit * 2)
        let unsaved = [unwritten, writeMetrics(record)].compactMap(\.self)
        for failure in unsaved { failure.report() }
        return Sysexit.worst(of: failures.map { Sysexit($0.failure.kind) } + unsaved.map(\.code))
    }

    private func execute(
        _ job: Job, _ setup: CommandSetup, _ series: inout RunSeries, askedAt: UTCInstant, _ record: ServiceRecord?
    ) async -> RunReport {
        let display = StandardStream.error.isTerminal ? ProgressDisplay(job: job.name) : nil
        let run = setup.run(
            job, onProgress: { display?.show($0) },
            onBatch: { record?.record(.batchEnded(job: job.name, after: $0, rowsDeleted: $1)) })
        let report = await series.execute(run, RunRequest(scheduledAt: askedAt, origin: .once))
        display?.end()
        if let earlier = report.earlierRuns { record?.record(.earlierRunsKnown(job: report.job, earlier)) }
        record?.record(.runConcluded(report))
        // The entry has the fields that the service writes.
        if setup.logFormat == .journal { ServiceLog(logger: setup.logger).record(.runConcluded(report)) }
        if case .held(let owner, _) = report.skip {
            setup.logger.notice("Skipped: \(owner) is running the job.", metadata: ["job": "\(job.name)"])
        }
        return report
    }

    /// Adds the counts to the metrics file. The `process_*` families are left out: the collector exports its own under
    /// those names.
    private func writeMetrics(_ record: ServiceRecord?) -> CommandFailure? {
        guard let record, let metricsTextfile else { return nil }
        do throws(CommandFailure) {
            try MetricsTextfile(path: metricsTextfile).add(record.metrics)
            return nil
        } catch {
            return error
        }
    }
}

extension RunReport {
    /// The keys that scripts rely on, in their order.
    fileprivate var json: JSON {
        let error: JSON? = failure.map { ["sqlstate": $0.sqlState?.rawValue, "message": "\($0)", "hint": $0.hint] }
        return [
            "job": job, "outcome": outcome.rawValue, "scheduled_at": scheduledAt, "started_at": startedAt,
            "finished_at": finishedAt, "cutoff": cutoff, "rows_deleted": progress.rowsDeleted,
            "rows_skipped": progress.rowsSkipped, "rows_refused": progress.rowsRefused, "batches": progress.batches,
            "attempts": attempts, "run_id": runID.map { Int($0) }, "error": error,
        ]
    }

    fileprivate func line(named name: String) -> String {
        let deleted = "\(progress.rowsDeleted.groupedText) deleted, \(progress.rowsSkipped.groupedText) skipped"
        let batches = "\(progress.batches.groupedText) \(progress.batches == 1 ? "batch" : "batches")"
        let took = (finishedAt - startedAt).secondsText
        return "\(name.padding(to: 10)) \(outcome.rawValue.padding(to: 10)) \(deleted), \(batches), \(took)"
    }
}

extension RunPreview {
    /// The keys that scripts rely on, in their order.
    fileprivate var json: JSON {
        ["job": job, "due_rows": dueRows, "oldest_due_at": oldestDueAt, "cutoff": cutoff, "plan": plan, "index": index]
    }

    fileprivate func line(named name: String) -> String {
        let oldest = oldestDueAt.map { ", the oldest since \($0.toTheSecond)" } ?? ""
        let way = index.map { "\(plan) using \($0)" } ?? plan
        return "\(name.padding(to: 10)) \(dueRows.groupedText) due\(oldest); \(way)"
    }
}
