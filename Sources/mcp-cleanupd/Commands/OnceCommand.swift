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
    var common = CommonOptions.Values()
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
        let metrics = metricsTextfile.map { OnceMetrics(path: $0, jobs: setup.configuration.jobs) }
        let access = try setup.databaseAccess(saysWhich: StandardStream.error.isTerminal) {
            metrics?.record(.connectionTried($0))
        }
        let code = try await SignalCancellation.run {
            isDryRun
                ? await preview(jobs, setup, access)
                : await execute(jobs, setup, access, askedAt: asked, metrics)
        }
        // Each run has been reported already.
        if code != .success { throw ExitCode(code.rawValue) }
    }

    private func execute(
        _ jobs: [Job], _ setup: CommandSetup, _ access: DatabaseAccess, askedAt: UTCInstant, _ metrics: OnceMetrics?
    ) async -> Sysexit {
        var series = RunSeries(access)
        var lines = ReportLines()
        var failures: [(job: Job, failure: RunFailure)] = []
        var isRecorded = false
        let heartbeats = RunHeartbeats(
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
            heartbeats?.record(report)
            isRecorded = setup.recordInJournal(report)
            if let failure = report.failure { failures.append((job, failure)) }
            if case .held(let owner, _) = report.skip {
                setup.logger.notice(
                    "Skipped: \(owner) is running the job.", metadata: ["job": "\(job.name)"])
            }
            lines.write("\(isJSON ? "\(report.json)" : report.line(named: job.shortName ?? job.name))\n")
        }
        await series.end()
        if !isRecorded { setup.report(failures) }
        // One call for each of the two URLs may be left.
        await heartbeats?.finish(within: Self.heartbeatLimit * 2)
        var codes = failures.map { Sysexit($0.failure.kind) } + lines.end()
        do {
            try metrics?.write()
        } catch {
            CommandFailure(.cannotWrite, "\(error)").report()
            codes.append(.cannotWrite)
        }
        return Sysexit.gravest(of: codes)
    }

    private func preview(_ jobs: [Job], _ setup: CommandSetup, _ access: DatabaseAccess) async -> Sysexit {
        var series = RunSeries(access)
        var lines = ReportLines()
        var failures: [(job: Job, failure: RunFailure)] = []
        for job in jobs where !Task.isCancelled {
            do throws(RunFailure) {
                let preview = try await series.preview(setup.run(job))
                lines.write("\(isJSON ? "\(preview.json)" : preview.line(named: job.shortName ?? job.name))\n")
            } catch {
                failures.append((job, error))
            }
        }
        await series.end()
        setup.report(failures)
        return Sysexit.gravest(of: failures.map { Sysexit($0.failure.kind) } + lines.end())
    }
}

/// The lines on standard output, one for each run. A line that cannot be written keeps no job from its run: it is an error
/// at the end.
private struct ReportLines {
    private var failure: CommandFailure?

    mutating func write(_ line: String) {
        guard failure == nil else { return }
        do {
            try StandardStream.output.write(line)
        } catch {
            failure = CommandFailure(error)
        }
    }

    /// Reports that a line could not be written, and returns the exit code for that.
    func end() -> [Sysexit] {
        failure?.report()
        return failure.map { [$0.code] } ?? []
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
            ("rows_refused", .integer(progress.rowsRefused)),
            ("batches", .integer(progress.batches)), ("attempts", .integer(attempts)),
            ("run_id", runID.map { .integer(Int($0)) } ?? .null),
            ("error", failure.map(\.json) ?? .null),
        ])
    }

    /// - Parameter name: the job's short name.
    fileprivate func line(named name: String) -> String {
        let counts = [
            "\(progress.rowsDeleted.groupedText) deleted", "\(progress.rowsSkipped.groupedText) skipped",
            "\(progress.batches.groupedText) \(progress.batches == 1 ? "batch" : "batches")",
        ]
        return
            "\(name.padding(to: 10)) \(outcome.rawValue.padding(to: 10)) \(counts.joined(separator: ", ")), \((finishedAt - startedAt).secondsText)"
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

    /// - Parameter name: the job's short name.
    fileprivate func line(named name: String) -> String {
        let oldest = oldestDueAt.map { ", the oldest since \($0.toTheSecond)" } ?? ""
        return
            "\(name.padding(to: 10)) \(dueRows.groupedText) due\(oldest); \(plan)\(index.map { " using \($0)" } ?? "")"
    }
}
