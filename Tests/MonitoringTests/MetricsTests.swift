import CleanupDaemon
import CleanupSchedule
import Foundation
@testable import Monitoring
@testable import SessionCleanup
import TestServers
import Testing
import Time

@Suite struct MetricsTests {
    private let builtIn = [Job.transientSessions, Job.dormantSessions()]

    private func lines(_ service: Simulated) -> Set<String> {
        Set(service.scraped.split(separator: "\n").map(String.init))
    }

    @Test func everyFamilyAndSeriesIsThereFromTheStart() {
        let lines = lines(Simulated(builtIn))
        for family in MetricFamily.allCases {
            #expect(lines.contains { $0.hasPrefix("# TYPE \(family.name) ") }, "\(family)")
            #expect(lines.contains { $0.hasPrefix(family.name) }, "\(family)")
        }
        for job in builtIn {
            for outcome in Outcome.allCases {
                #expect(
                    lines.contains(
                        #"mcp_cleanup_runs_total{job_name="\#(job.name)",outcome="\#(outcome.rawValue)"} 0"#))
            }
            #expect(lines.contains(#"mcp_cleanup_last_success_timestamp_seconds{job_name="\#(job.name)"} 0"#))
            #expect(lines.contains(#"mcp_cleanup_run_duration_seconds_count{job_name="\#(job.name)"} 0"#))
        }
        for cause in ConnectFailureCause.allCases {
            #expect(lines.contains(#"mcp_cleanup_connect_failures_total{cause="\#(cause.rawValue)"} 0"#))
        }
        #expect(lines.contains(#"mcp_cleanup_build_info{version="1.2.3"} 1"#))
        #expect(lines.contains("mcp_cleanup_config_last_reload_successful 1"))
        #expect(lines.contains("mcp_cleanup_config_last_reload_success_timestamp_seconds 1778673630"))
    }

    @Test func recordsARunWithAllThatItDid() {
        var service = Simulated()
        let job = Job.transientSessions.name
        service.pass(.seconds(270))
        service.record(
            .attemptStarted(job: job, scheduledAt: service.now.wall - .milliseconds(4), origin: .schedule, number: 1))
        #expect(lines(service).contains(#"mcp_cleanup_run_in_progress{job_name="\#(job)"} 1"#))
        service.record(.connectionTried(.failure(.databaseAway)))
        service.record(.connectionTried(.success(.milliseconds(30))))
        service.record(.batchEnded(job: job, after: .milliseconds(40), rowsDeleted: 1000))
        service.record(.batchEnded(job: job, after: .milliseconds(60), rowsDeleted: 234))
        let report = RunReport.ended(
            job, .succeeded, at: service.now.wall, deleted: 1234, skipped: 7, refused: 3, duration: .milliseconds(1500),
            clockSkew: .milliseconds(-250), oldestOverdue: .seconds(299))
        service.record(.runConcluded(report))
        service.record(.fireTimeCoalesced(job: job, service.now.wall))
        service.record(.fireTimesMissed(job: job, 12))
        let lines = lines(service)
        let label = #"{job_name="\#(job)"}"#
        for line in [
            #"mcp_cleanup_runs_total{job_name="\#(job)",outcome="succeeded"} 1"#,
            "mcp_cleanup_rows_deleted_total\(label) 1234",
            "mcp_cleanup_rows_skipped_total\(label) 7", "mcp_cleanup_rows_refused_total\(label) 3",
            "mcp_cleanup_batches_total\(label) 2",
            "mcp_cleanup_run_duration_seconds_sum\(label) 1.5", "mcp_cleanup_run_duration_seconds_count\(label) 1",
            #"mcp_cleanup_run_duration_seconds_bucket{job_name="\#(job)",le="1"} 0"#,
            #"mcp_cleanup_run_duration_seconds_bucket{job_name="\#(job)",le="2.5"} 1"#,
            #"mcp_cleanup_run_duration_seconds_bucket{job_name="\#(job)",le="+Inf"} 1"#,
            #"mcp_cleanup_batch_duration_seconds_bucket{job_name="\#(job)",le="0.05"} 1"#,
            #"mcp_cleanup_batch_duration_seconds_bucket{job_name="\#(job)",le="0.1"} 2"#,
            "mcp_cleanup_start_delay_seconds_sum\(label) 0.004", "mcp_cleanup_connect_duration_seconds_count 1",
            #"mcp_cleanup_connect_failures_total{cause="refused"} 1"#, "mcp_cleanup_run_in_progress\(label) 0",
            "mcp_cleanup_coalesced_fires_total\(label) 1", "mcp_cleanup_missed_fires_total\(label) 12",
            "mcp_cleanup_oldest_overdue_seconds\(label) 299", "mcp_cleanup_database_clock_skew_seconds -0.25",
            "mcp_cleanup_interval_seconds\(label) 300", "mcp_cleanup_deadline_seconds\(label) 240",
            "mcp_cleanup_success_budget_seconds\(label) 840",
            "mcp_cleanup_last_run_timestamp_seconds\(label) 1778673900",
            "mcp_cleanup_last_success_timestamp_seconds\(label) 1778673900",
            "mcp_cleanup_next_fire_timestamp_seconds\(label) 1778673900",
        ] {
            #expect(lines.contains(line), "\(line)")
        }
    }

    @Test func aFailureKeepsTheLastSuccessAndASkippedRunIsNoRun() {
        var service = Simulated()
        let job = Job.transientSessions.name
        service.answer(1)
        let success = service.now.wall.wholeSecondsSinceEpoch
        service.answer(1, .transientSessions, .failed, failure: .databaseAway)
        let failed = service.now.wall.wholeSecondsSinceEpoch
        service.answer(1, .transientSessions, .skipped)
        let lines = lines(service)
        #expect(lines.contains(#"mcp_cleanup_last_success_timestamp_seconds{job_name="\#(job)"} \#(success)"#))
        #expect(lines.contains(#"mcp_cleanup_last_run_timestamp_seconds{job_name="\#(job)"} \#(failed)"#))
        #expect(lines.contains(#"mcp_cleanup_runs_total{job_name="\#(job)",outcome="skipped"} 1"#))
        #expect(lines.contains(#"mcp_cleanup_run_duration_seconds_count{job_name="\#(job)"} 2"#))
    }

    @Test func aJobThatMayRestHasALargerBudgetAndADisabledOneNone() {
        var (resting, disabled) = (Job.transientSessions, Job.dormantSessions())
        resting.maxStaleness = .seconds(6 * 3600)
        disabled.isEnabled = false
        let lines = lines(Simulated([resting, disabled]))
        #expect(lines.contains(#"mcp_cleanup_success_budget_seconds{job_name="\#(resting.name)"} 21840"#))
        #expect(lines.contains(#"mcp_cleanup_success_budget_seconds{job_name="\#(disabled.name)"} 0"#))
    }

    @Test func takesTheLastSuccessFromTheHistoryAfterARestart() {
        var service = Simulated()
        service.pass(.seconds(270))
        service.run(
            .transientSessions, .failed, failure: .noPrivilege,
            lastSuccessAt: UTCInstant(secondsSinceEpoch: 1_778_673_000))
        #expect(
            lines(service).contains(
                #"mcp_cleanup_last_success_timestamp_seconds{job_name="mcp-cleanup-transient-sessions"} 1778673000"#))
    }

    @Test func takesTheLastEndFromTheHistoryAfterARestart() throws {
        var service = Simulated()
        let now = service.now.wall
        service.tell(lastEnd: now - .seconds(10), lastSuccess: now - .seconds(310), ago: .seconds(310), of: builtIn[0])
        #expect(try #require(service.value(.lastRun)) > #require(service.value(.lastSuccess)), "McpCleanupFailing")
    }

    @Test func theIntervalAndTheBudgetFollowTheScheduleThroughTheDay() throws {
        var job = builtIn[0]
        job.schedule = try Schedule("*/5 8-18 * * *")
        var service = Simulated([job], at: "2026-05-13T12:00:30Z")
        #expect(service.value(.interval) == 300 && service.value(.successBudget) == 840)
        // Up to 18:55, the last fire time of the day.
        service.answer(83, job)
        #expect(service.value(.interval) == 47_100)
        service.pass(.seconds(13 * 3600))
        #expect(!service.isAlerted() && service.obstacles.isEmpty)
        service.answer(2, job)
        #expect(service.value(.interval) == 300 && service.value(.successBudget) == 840)
    }

    @Test func aRunsDurationIsThatOfItsLastAttempt() {
        var service = Simulated()
        var report = RunReport.ended(builtIn[0].name, .succeeded, at: service.now.wall, duration: .seconds(250))
        report.untilLastAttempt = .seconds(247)
        service.record(.runConcluded(report))
        #expect(service.value(.runDuration) == nil)
        #expect(
            lines(service).contains(
                #"mcp_cleanup_run_duration_seconds_sum{job_name="\#(builtIn[0].name)"} 3"#),
            "no wait in an outage is in it")
    }

    @Test func saysWhetherTheConfigurationReadLastIsInForce() {
        var service = Simulated()
        service.record(.reloadFailed("config.yaml:2:3: <b>"))
        #expect(lines(service).contains("mcp_cleanup_config_last_reload_successful 0"))
        #expect(lines(service).contains("mcp_cleanup_config_last_reload_success_timestamp_seconds 1778673630"))
        #expect(service.page.contains("<pre>config.yaml:2:3: &lt;b&gt;</pre>"))
        #expect(service.page.contains("Reload failed"))
        service.pass(.seconds(60))
        service.reload([builtIn[0]])
        #expect(lines(service).contains("mcp_cleanup_config_last_reload_successful 1"))
        #expect(lines(service).contains("mcp_cleanup_config_last_reload_success_timestamp_seconds 1778673690"))
        #expect(!service.page.contains("Reload failed"))
    }

    @Test func countsNoStartDelayForACatchUpRun() {
        var service = Simulated()
        service.record(
            .attemptStarted(
                job: Job.transientSessions.name, scheduledAt: service.now.wall - .seconds(3600), origin: .catchUp,
                number: 1))
        #expect(
            lines(service).contains(
                #"mcp_cleanup_start_delay_seconds_count{job_name="mcp-cleanup-transient-sessions"} 0"#))
    }

    // MARK: The text

    /// The text is cached between events, except for the process's figures.
    @Test func aScrapeHasEachEventAndTheProcessAsItIsNow() {
        let record = ServiceRecord(jobs: builtIn, version: "1.2.3")
        func scrape(_ files: Int) -> String {
            record.metricsText(ProcessFigures(residentBytes: 1, openFiles: files, processorTime: .zero))
        }
        let (first, second) = (scrape(1), scrape(2))
        #expect(second == first.replacing("process_open_fds 1", with: "process_open_fds 2"))
        record.record(.batchEnded(job: builtIn[0].name, after: .milliseconds(3), rowsDeleted: 9))
        #expect(scrape(2).contains("mcp_cleanup_rows_deleted_total{job_name=\"\(builtIn[0].name)\"} 9\n"))
        record.recordNotifyFailure()
        #expect(scrape(2).contains("mcp_cleanup_notify_failures_total 1\n"))
    }

    @Test func goesOnWhereAnotherProcessEnded() {
        var first = Simulated(builtIn)
        first.answer(3)
        first.record(.batchEnded(job: builtIn[0].name, after: .milliseconds(3), rowsDeleted: 9))
        var second = ServiceRecord(jobs: builtIn, version: "1.2.3").metrics
        second.merge(first.metrics.text, at: .now)
        // Without the next fire time and the time of the last reload, which only the first gave, and the process's.
        let lines = { (text: String) in
            text.split(separator: "\n").filter { !$0.contains(/next_fire|last_reload_success_|process_/) }
        }
        #expect(lines(second.text) == lines(first.metrics.text))
    }

    @Test func addsWhatTwoProcessesCountedAndKeepsTheLaterTimes() throws {
        let job = builtIn[0].name
        func process(rows: Int, success: String?) throws -> Simulated {
            var service = Simulated(builtIn)
            service.record(.batchEnded(job: job, after: .milliseconds(3), rowsDeleted: rows))
            if let success {
                let time = try #require(UTCInstant(rfc3339: success))
                service.tell(lastSuccess: time, ago: service.now.wall - time, of: builtIn[0])
            }
            return service
        }
        let now = try #require(UTCInstant(rfc3339: "2026-05-13T12:00:00Z"))
        let (early, late) = ("2026-05-13T11:00:00Z", "2026-05-13T11:30:00Z")
        for (first, second, expected) in [
            (early, late, late), (late, early, late), (late, nil, late),
            // A clock that ran ahead gave this time.
            ("2027-01-01T00:00:00Z", early, early),
        ] as [(String, String?, String)] {
            let other = try process(rows: 2, success: first)
            var ours = try process(rows: 5, success: second).metrics
            ours.merge(other.metrics.text, at: now)
            let text = ours.text
            #expect(text.contains("mcp_cleanup_rows_deleted_total{job_name=\"\(job)\"} 7\n"))
            #expect(text.contains("mcp_cleanup_batch_duration_seconds_count{job_name=\"\(job)\"} 2\n"))
            let seconds = try #require(UTCInstant(rfc3339: expected)).microsecondsSinceEpoch / 1_000_000
            #expect(
                text.contains("last_success_timestamp_seconds{job_name=\"\(job)\"} \(seconds)\n"),
                "\(first), \(second ?? "")")
        }
    }

    @Test(arguments: [
        "", "nonsense", "mcp_cleanup_rows_deleted_total{job_name=\"mcp-cleanup-transient-sessions\"} NaN",
        "mcp_cleanup_rows_deleted_total{job_name=\"other\"} 7\n\n# x\nmcp_cleanup_batches_total 5 ",
        "mcp_cleanup_run_duration_seconds_bucket{job_name=\"mcp-cleanup-transient-sessions\",le=\"0.01\"} 5",
        "\u{0} \u{FFFD}\n 1\n=",
    ])
    func passesOverWhatIsNotItsOwn(text: String) {
        var metrics = Simulated().metrics
        let before = metrics.text
        metrics.merge(text, at: .now)
        #expect(metrics.text == before)
    }

    /// A line break in a name becomes a visible character, as everywhere; a configuration cannot have one.
    @Test func escapesLabels() throws {
        let job = Job(
            name: "a\"b\\c\nd", shortName: nil, schedule: try Schedule("*/5 * * * *"), deadline: .seconds(60),
            rule: Job.transientSessions.rule)
        #expect(lines(Simulated([job])).contains(#"mcp_cleanup_rows_deleted_total{job_name="a\"b\\c�d"} 0"#))
    }

    @Test func noSeriesIsThereTwice() {
        var service = Simulated(builtIn)
        service.answer(2)
        service.reload(builtIn)
        let names = service.scraped.split(separator: "\n").filter { !$0.hasPrefix("#") }.map {
            $0[..<($0.lastIndex(of: " ") ?? $0.endIndex)]
        }
        #expect(Set(names).count == names.count)
    }

    @Test func theProcessTellsOfItselfAndTheTextfileLeavesItOut() {
        let figures = ProcessFigures.current
        #expect(figures.residentBytes > 1 << 20 && figures.openFiles > 2 && figures.processorTime > .zero)
        let service = Simulated()
        #expect(lines(service).contains("process_start_time_seconds 1778673630"))
        #expect(lines(service).contains("process_cpu_seconds_total 1.5"))
        #expect(lines(service).contains("process_open_fds 9"))
        let once = ServiceRecord(jobs: builtIn, version: "1").metrics.text
        #expect(!once.contains("process_"), "the collector has its own")
        #expect(once.contains("mcp_cleanup_next_fire_timestamp_seconds{job_name=\"\(builtIn[0].name)\"} 0\n"))
        #expect(once.contains("mcp_cleanup_interval_seconds{job_name=\"\(builtIn[0].name)\"} 300\n"))
    }

    @Test(.slow, .enabled(if: Tool.promtool != nil, "promtool is not installed: apt-get install prometheus"))
    func promtoolFindsNothingToCorrect() async throws {
        var service = Simulated(builtIn)
        service.answer(3)
        let result = try await Command.run(
            #require(Tool.promtool), ["check", "metrics"], input: service.scraped)
        #expect(result.status == 0 && result.error.isEmpty && result.output.isEmpty, "\(result)")
    }
}

/// Programs that some tests need.
enum Tool {
    static let promtool = path("promtool")
    static let prometheus = path("prometheus")
    static let chromium = path("chromium")

    private static func path(_ name: String) -> String? {
        let path = "/usr/bin/\(name)"
        return FileManager.default.isExecutableFile(atPath: path) ? path : nil
    }
}
