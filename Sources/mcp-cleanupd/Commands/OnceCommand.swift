import ArgumentParser
import CleanupDaemon
import Settings
import Logging
import Monitoring
import Postgres
import SessionCleanup
import Time

/// `--once`: every enabled job now, one after the other.
struct OnceCommand: Sendable {
    var common = CommonOptions.Values()
    var jobNames: [String] = []
    var isDryRun = false
    var isJSON = false
    var metricsTextfile: String?

    /// For a heartbeat: less than the service's, since whoever called waits for the end.
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
        let metrics = metricsTextfile.map { OnceMetrics(path: $0, jobs: setup.configuration.jobs) }
        let access = try setup.databaseAccess { metrics?.record(.connection($0)) }
        let code = try await SignalCancellation.run {
            isDryRun
                ? try await preview(jobs, setup, access)
                : try await execute(jobs, setup, access, askedAt: asked, metrics)
        }
        // Each run has been reported already.
        if code != .success { throw ExitCode(code.rawValue) }
    }

    private func execute(
        _ jobs: [Job], _ setup: CommandSetup, _ access: DatabaseAccess, askedAt: UTCInstant, _ metrics: OnceMetrics?
    ) async throws -> Sysexit {
        var series = RunSeries(access)
        var codes: [Sysexit] = []
        let notify = Notifications(
            setup.configuration, environment: setup.environment, limit: Self.heartbeatLimit, logger: setup.logger
        ) { metrics?.recordNotifyFailure() }
        for job in jobs where !Task.isCancelled {
            let display = StandardStream.error.isTerminal ? ProgressDisplay(job: job.name) : nil
            let run = setup.run(
                job, onProgress: { display?.show($0) },
                onBatch: { metrics?.record(.batchEnded(job: job.name, after: $0, rowsDeleted: $1)) })
            let report = await series.execute(run, RunRequest(scheduledAt: askedAt, origin: .once))
            display?.end()
            metrics?.record(report)
            notify?.hear(report)
            let isRecorded = setup.recordInJournal(report)
            if let failure = report.failure {
                if !isRecorded { setup.logger.report(failure, of: job) }
                codes.append(Sysexit(failure.kind))
            }
            if case .held(let owner, _) = report.skip {
                setup.logger.notice(
                    "\(owner) is at a run of the job; there was none here.", metadata: ["job": "\(job.name)"])
            }
            try StandardStream.output.write("\(isJSON ? "\(report.json)" : report.line)\n")
        }
        await series.end()
        // One call for each of the two URLs may be left.
        await notify?.finish(within: Self.heartbeatLimit * 2)
        do {
            try metrics?.write()
        } catch {
            setup.logger.error("\(error)")
            codes.append(.cannotWrite)
        }
        return Sysexit.gravest(of: codes)
    }

    private func preview(_ jobs: [Job], _ setup: CommandSetup, _ access: DatabaseAccess) async throws -> Sysexit {
        var series = RunSeries(access)
        var codes: [Sysexit] = []
        for job in jobs where !Task.isCancelled {
            do {
                let preview = try await series.preview(setup.run(job))
                try StandardStream.output.write("\(isJSON ? "\(preview.json)" : preview.line)\n")
            } catch let failure as RunFailure {
                setup.logger.report(failure, of: job)
                codes.append(Sysexit(failure.kind))
            }
        }
        await series.end()
        return Sysexit.gravest(of: codes)
    }
}

extension Logger {
    /// Why a job's run did not do all it should have, and what to do.
    fileprivate func report(_ failure: RunFailure, of job: Job) {
        var metadata: Logger.Metadata = ["job": "\(job.name)"]
        if let hint = failure.hint { metadata["hint"] = "\(hint)" }
        error("\(failure)", metadata: metadata)
    }
}

extension RunReport {
    /// The keys that scripts rely on, in their order.
    fileprivate var json: JSON {
        .object([
            ("job", .string(job)), ("outcome", .string(outcome.rawValue)),
            ("scheduled_at", .string("\(scheduledAt)")), ("started_at", .string("\(startedAt)")),
            ("finished_at", .string("\(finishedAt)")), ("cutoff", JSON(cutoff.map { "\($0)" })),
            ("rows_deleted", .integer(progress.rowsDeleted)), ("rows_skipped", .integer(progress.rowsSkipped)),
            ("batches", .integer(progress.batches)), ("attempts", .integer(attempts)),
            ("run_id", runID.map { .integer(Int($0)) } ?? .null),
            ("error", failure.map(\.json) ?? .null),
        ])
    }

    fileprivate var line: String {
        let counts = [
            "\(progress.rowsDeleted.groupedText) deleted", "\(progress.rowsSkipped.groupedText) skipped",
            "\(progress.batches.groupedText) \(progress.batches == 1 ? "batch" : "batches")",
        ]
        let name = job.padding(to: 32)
        return
            "\(name) \(outcome.rawValue.padding(to: 10)) \(counts.joined(separator: ", ")), \((finishedAt - startedAt).secondsText)"
    }
}

extension RunFailure {
    fileprivate var json: JSON {
        .object([
            ("sqlstate", JSON(sqlState?.rawValue)), ("message", .string(description)), ("hint", JSON(hint)),
        ])
    }
}

extension RunPreview {
    fileprivate var json: JSON {
        .object([
            ("job", .string(job)), ("due_rows", .integer(dueRows)),
            ("oldest_due_at", JSON(oldestDueAt.map { "\($0)" })), ("cutoff", .string("\(cutoff)")),
            ("plan", .string(plan)), ("index", JSON(index)),
        ])
    }

    fileprivate var line: String {
        let oldest = oldestDueAt.map { ", the oldest since \($0.toTheSecond)" } ?? ""
        return
            "\(job.padding(to: 32)) \(dueRows.groupedText) due\(oldest); \(plan)\(index.map { " using \($0)" } ?? "")"
    }
}
