import CleanupDaemon
import CleanupSchedule
import Foundation
@testable import Monitoring
import Postgres
@testable import SessionCleanup
import TestServers
import Testing
import Time

/// The page, by the text that a reader sees; `BrowserTests` checks its looks.
@Suite struct PageTests {
    @Test func saysEachStateInAWord() {
        var service = Simulated()
        #expect(service.visible.contains("○ Waiting for the first run"))
        #expect(service.visible.contains("State ○ waiting"))
        service.beginRun()
        #expect(service.visible.contains("State ▶ running for 0 s, 0 removed"))
        service.answer(1)
        #expect(service.visible.contains("✓ Expired sessions are removed on time"))
        #expect(service.visible.contains("State ✓ healthy"))
        service.answer(1, .transientSessions, .failed, failure: .databaseAway)
        #expect(service.visible.contains("▲ transient is failing; overdue at 12:19:00 unless it succeeds"))
        #expect(service.visible.contains("State ▲ failing"))
        service.answer(2, .transientSessions, .failed, failure: .databaseAway)
        #expect(service.visible.contains("✖ transient is overdue: expired sessions stay in the table"))
        #expect(service.visible.contains("State ✖ overdue"))
        #expect(service.visible.contains("Jobs overdue 1 of 1"))
        service.record(.stopping)
        #expect(service.visible.contains("○ Stopping: no run begins any more"))
        var disabled = Job.transientSessions
        disabled.isEnabled = false
        #expect(Simulated([disabled]).visible.contains("○ Every job is disabled"))
    }

    @Test func answersWhatWasRemovedWhenNextAndFromWhichDatabase() {
        var service = Simulated([.transientSessions, .dormantSessions()])
        service.record(.databaseNamed("db.example.org/app"))
        service.pass(.seconds(270))
        service.run(deleted: 2900, oldestOverdue: .seconds(299))
        service.pass(.seconds(120))
        let text = service.visible
        #expect(text.contains("mcp-cleanupd on web-3 removes expired MCP sessions from db.example.org/app"))
        #expect(text.contains("Removed in the last run 2,900 transient, 2 min ago"))
        #expect(text.contains("Removed in the last 24 hours 2,900 by this process, which began 6 min 30 s ago"))
        #expect(text.contains("Jobs overdue 0 of 2 next run in 3 min: transient"))
        #expect(
            text.contains("Last run 12:05:00 2 min ago, succeeded Removed 2,900 Took 2 s Next run 12:10:00 in 3 min"))
        #expect(text.contains("Oldest expired session 4 min 59 s past its time at 12:04:58"))
        #expect(text.contains("dormant mcp-cleanup-dormant-sessions State ○ waiting Last run none known Removed –"))
        #expect(text.contains("Version 1.2.3, running since 12:00:30"))
    }

    @Test func countsADaysDeletionsAndForgetsOlderOnes() {
        var service = Simulated()
        service.run(deleted: 1000)
        service.pass(.seconds(12 * 3600))
        service.run(deleted: 234)
        #expect(service.visible.contains("Removed in the last 24 hours 1,234 "))
        service.pass(.seconds(13 * 3600))
        #expect(service.visible.contains("Removed in the last 24 hours 234 by this process Jobs"))
        service.pass(.seconds(13 * 3600))
        #expect(service.visible.contains("Removed in the last 24 hours 0 "))
    }

    @Test func saysSinceWhenItFailsHowOftenWhyAndWhatToDo() {
        var service = Simulated()
        service.answer(1)
        service.answer(1, .transientSessions, .failed, failure: .noPrivilege)
        service.pass(.seconds(290))
        service.beginRun()
        service.record(
            .attemptEnded(
                .ended(Job.transientSessions.name, .failed, at: service.now.wall, failure: .noPrivilege),
                nextAfter: .seconds(4)))
        let text = service.visible
        #expect(
            text.contains(
                "Failing since 12:10:00 (4 min 50 s ago), 2 attempts. Next attempt in 4 s. the role r has no DELETE privilege on public.mcp_sessions"
            ), "\(text)")
        #expect(text.contains("What to do: GRANT DELETE ON \"public\".\"mcp_sessions\""))
        #expect(text.contains("Overdue at 12:19:00. Runbook"))
        #expect(
            text.contains("Runbook: /usr/share/doc/mcp-cleanupd/docs/operations.md#the-database-refuses"),
            "a browser does not follow this link")
        #expect(service.page.contains("href=\"\(Runbook.address)#the-database-refuses\""))
        service.answer(1)
        #expect(!service.visible.contains("Failing since"))
    }

    @Test func saysWhatOthersLockedAndWhatTheDatabaseRefused() {
        var service = Simulated()
        service.record(
            .runConcluded(
                .ended(
                    Job.transientSessions.name, .failed, at: service.now.wall, failure: .noPrivilege, deleted: 24_999,
                    skipped: 3, refused: 1)))
        #expect(service.visible.contains("Removed 24,999 3 locked by others, 1 refused by the database"))
        #expect(service.visible.contains("Scheduled Outcome Removed Skipped Refused Took"))
    }

    @Test func tellsOfRunsOfOtherProcesses() {
        var service = Simulated()
        let now = service.now.wall
        service.tell(
            lastEnd: now - .seconds(40), lastSuccess: now - .seconds(40), ago: .seconds(40), of: .transientSessions)
        #expect(service.visible.contains("Last run 11:59:50 40 s ago, before this process began"))
        #expect(service.visible.contains("No run is known yet."))
        service.answer(1)
        service.pass(.seconds(300))
        service.tell(
            lastEnd: service.now.wall, lastSuccess: service.now.wall, ago: .zero, of: .transientSessions)
        #expect(service.visible.contains("Last run 12:10:00 0 s ago, in another process"))
    }

    @Test func theOldestSessionIsNotForgottenInALongOutage() {
        var service = Simulated()
        service.run(deleted: 1, oldestOverdue: .seconds(60))
        service.answer(60, .transientSessions, .failed, failure: .databaseAway)
        #expect(service.visible.contains("Oldest expired session 1 min past its time at 12:00:28"))
    }

    @Test func drawsEachRunOnALinearScaleWithATimeAxis() {
        var service = Simulated()
        for deleted in [0, 100, 10_000, 20_000] {
            service.run(deleted: deleted)
            service.pass(.seconds(300))
        }
        service.run(.transientSessions, .timedOut, failure: .deadlinePassed(.seconds(240)), deleted: 10_000)
        let text = service.visible
        #expect(text.contains("Removed by each of the last 5 runs ✕ failed 20k 10k 0 12:00 12:20"), "\(text)")
        // Heights of 90 units: none, the least that is seen, half, all, half; and one cross.
        let bars = service.page.matches(of: /98v-(\d+)/).compactMap { Int($0.1) }
        #expect(bars == [1, 45, 90, 45])
        #expect(service.page.matches(of: /<path class="crosses" d="M[^M"]*"/).count == 1)
        #expect(service.page.contains("20,000 at most, 1 failed"))
    }

    @Test func nothingFromOutsideBecomesMarkup() throws {
        let evil = #"</style><script>alert("1")</script>&'"#
        let job = Job(
            name: evil, shortName: nil, schedule: try Schedule("*/5 * * * *"), deadline: .seconds(60),
            rule: Job.transientSessions.rule)
        var service = Simulated([job])
        service.record(.databaseNamed(evil))
        service.record(.reloadFailed(evil))
        service.run(job, .failed, failure: .databaseURL(evil))
        #expect(service.page.components(separatedBy: "<script").count == 2)
        #expect(!service.page.contains(evil))
        #expect(service.page.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;"))
        #expect("a\u{0}\u{1B}\u{7F}\u{9B}\u{202E}b".escapedForHTML == "a�����b")
    }

    @Test func allowsItsOwnStyleAndScriptOnlyAndDifferentlyEachTime() {
        let service = Simulated()
        let pages = (0..<100).map { _ in StatusPage(state: service.state, now: service.now) }
        #expect(Set(pages.map(\.contentPolicy)).count == 100)
        for page in pages.prefix(3) {
            let nonces = page.html.matches(of: /nonce="([0-9a-f]+)"/).map { String($0.1) }
            #expect(nonces.count == 2 && Set(nonces).count == 1)
            #expect(nonces[0].count >= 31)
            #expect(page.contentPolicy.contains("script-src 'nonce-\(nonces[0])'"))
            #expect(!page.html.contains("style="), "the policy would not allow it")
        }
    }

    @Test func loadsItselfAgainWhereScriptsAreOff() {
        let page = Simulated().page
        #expect(page.contains("<noscript><meta http-equiv=\"refresh\" content=\"15\"></noscript>"))
        #expect(page.matches(of: /http-equiv/).count == 1, "with the script, the page does not load itself twice")
    }

    /// With both built-in jobs and one of the operator's own, all of them failing after many runs.
    @Test func isSmallAndNeedsNothingFromElsewhere() throws {
        let own = Job(
            name: "prune-oauth-clients", shortName: nil, schedule: try Schedule("*/10 * * * *"), deadline: .seconds(60),
            rule: Job.transientSessions.rule)
        let jobs = [Job.transientSessions, .dormantSessions(), own]
        var service = Simulated(jobs)
        service.record(.databaseNamed("ep-cool-darkness-123456-pooler.us-east-2.aws.neon.tech/neondb"))
        for number in 0..<50 { for job in jobs { service.run(job, deleted: number * 12_345) } }
        for job in jobs { service.run(job, .failed, failure: .noPrivilege) }
        let markup = service.page.components(separatedBy: "<script")[0]
        for reference in markup.matches(of: /(?:src|href|url)=?[("']+([^"')]*)/) {
            let isOurs = ["/status.json", "/metrics", "/livez", "/readyz"].contains(reference.1)
            let isInline = reference.1.hasPrefix("data:image/svg+xml,") || reference.1.hasPrefix("%23")
            #expect(isOurs || isInline || reference.1.hasPrefix(Runbook.address), "\(reference.0)")
        }
        #expect(service.page.utf8.count <= 20_000, "\(service.page.utf8.count) bytes")
    }

    // MARK: Runs of all processes

    @Test func showsWhatTheHistoryHasOfEveryProcessAndOfBeforeARestart() {
        var service = Simulated()
        service.learn([(2000, .seconds(7200)), (345, .seconds(60))], deletions: [0: 345, 8: 2000, 95: 10])
        let text = service.visible
        #expect(text.contains("Removed in the last run 345 transient, 1 min ago"), "\(text)")
        #expect(text.contains("Removed in the last 24 hours 2,355 by all processes"), "\(text)")
        #expect(text.contains("1 min ago, succeeded, before this process began Removed 345"), "\(text)")
        #expect(text.contains("Removed by each of the last 2 runs"))
        // As time passes, the oldest deletions no longer count; this process's own are added.
        service.pass(.seconds(3600))
        service.run(deleted: 5)
        #expect(service.visible.contains("Removed in the last 24 hours 2,350 "), "\(service.visible)")
        service.pass(.seconds(10))
        service.learn([(5, .seconds(10)), (77, .seconds(5))], deletions: [0: 82])
        #expect(service.visible.contains("5 s ago, succeeded, in another process Removed 77"), "\(service.visible)")
    }

    /// The run is recorded before or after the history is read.
    @Test(arguments: [true, false]) func countsNoRunTwiceThatTheHistoryHasToo(isHistoryFirst: Bool) {
        var service = Simulated()
        service.beginRun()
        service.record(.batchEnded(job: Job.transientSessions.name, after: .milliseconds(3), rowsDeleted: 9))
        var report = RunReport.ended(Job.transientSessions.name, .succeeded, at: service.now.wall, deleted: 9)
        report.runID = 2
        if !isHistoryFirst { service.record(.runConcluded(report)) }
        service.learn([(1, .seconds(60)), (9, .zero)], deletions: [0: 10])
        if isHistoryFirst { service.record(.runConcluded(report)) }
        let job = service.state.jobs[0]
        #expect(job.recent.map(\.report.runID) == [1, 2] && job.recent.map(\.isOurs) == [false, true])
        #expect(job.recent.last?.startDelay != nil)
        #expect(service.state.rowsDeletedInLastDay(at: service.now) == 10)
        // A run that could not reach the database has no row in the history, and stays.
        service.answer(1, .transientSessions, .failed, failure: .databaseAway)
        service.learn([(1, .seconds(360)), (9, .seconds(300))], deletions: [0: 10])
        #expect(service.state.jobs[0].recent.map(\.report.outcome) == [.succeeded, .succeeded, .failed])
    }

    /// The run under way begins with the first attempt that is more than a look at another process's run.
    @Test func countsTheTimeOfTheRunUnderWayFromItsFirstAttemptThatWasNoLook() {
        var service = Simulated()
        func total(_ failure: RunFailure?, after earlier: RunReport?) -> RunReport {
            var report = RunReport.ended(
                Job.transientSessions.name, failure == nil ? .skipped : .failed, at: service.now.wall, failure: failure)
            if failure == nil { report.skip = .held(by: "other", lookAgainAfter: .seconds(60)) }
            return earlier.map(report.following) ?? report
        }
        var report: RunReport?
        for attempt in 1...2 {
            service.beginRun(attempt: attempt)
            let looked = total(nil, after: report)
            report = looked
            service.record(.attemptEnded(looked, nextAfter: .seconds(60)))
            service.pass(.seconds(60))
        }
        let start = service.now.wall
        var deleted = 0
        for (number, failure) in [RunFailure.databaseAway, nil, .databaseAway, nil, nil, .databaseAway].enumerated() {
            service.beginRun(attempt: 3 + number)
            #expect(service.state.jobs[0].underWay?.startedAt == start, "\(number)")
            #expect(service.state.jobs[0].underWay?.rowsDeleted == deleted, "\(number)")
            if failure != nil {
                service.record(.batchEnded(job: Job.transientSessions.name, after: .milliseconds(3), rowsDeleted: 1))
                deleted += 1
            }
            let ended = total(failure, after: report)
            report = ended
            service.record(.attemptEnded(ended, nextAfter: .seconds(60)))
            #expect(service.state.jobs[0].isHeldElsewhere == (failure == nil))
            service.pass(.seconds(60))
        }
    }

    // MARK: Numbers that no table has

    /// The most that is read of a forged row, in each run of the chart and in each slot of the last day.
    @Test func theLargestNumbersAreDrawnAndAdded() throws {
        var service = Simulated([.transientSessions, .dormantSessions()])
        let most = QueryResult.Row.mostOfInteger
        for job in [Job.transientSessions, .dormantSessions()] {
            service.learn(
                (0..<JobState.recentLimit).map { (most, Duration.seconds(60 * (100 - $0))) },
                deletions: Dictionary(uniqueKeysWithValues: (0...96).map { ($0, most) }), of: job)
        }
        service.run(deleted: 1)
        #expect(service.visible.contains("Removed in the last 24 hours 194,000,000,000,000,001 by all processes"))
        #expect(service.page.contains("1,000,000,000,000,000 at most, 0 failed"))
        // All of the scale, and the least that is seen.
        let bars = service.page.matches(of: /98v-(\d+)/).compactMap { Int($0.1) }
        #expect(bars.filter { $0 == 90 }.count == 2 * JobState.recentLimit - 1 && bars.filter { $0 == 1 }.count == 1)
        let text = "\(service.state.document(at: service.now))"
        #expect(try JSONSerialization.jsonObject(with: Data(text.utf8)) is [String: Any])
        #expect(service.scraped.contains("mcp_cleanup_rows_deleted_total"))
    }

    // MARK: /status.json

    @Test func tellsProgramsTheSame() throws {
        var service = Simulated()
        service.record(.databaseNamed("db.example.org/app"))
        service.answer(1)
        service.run(deleted: 7, oldestOverdue: .milliseconds(1500))
        service.answer(1, .transientSessions, .failed, failure: .noPrivilege)
        let text = "\(service.state.document(at: service.now))"
        let document = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        #expect(document["database"] as? String == "db.example.org/app")
        #expect(document["version"] as? String == "1.2.3" && document["host"] as? String == "web-3")
        #expect(document["ready"] as? Bool == true)
        #expect(document["rows_deleted_24h"] as? Int == 7)
        #expect(document["counts_all_processes"] as? Bool == false)
        service.learn([(7, .zero)], deletions: [0: 7])
        #expect("\(service.state.document(at: service.now))".contains(#""counts_all_processes":true"#))
        let job = try #require((document["jobs"] as? [[String: Any]])?.first)
        #expect(job["state"] as? String == "failing")
        #expect(job["next_run_at"] as? String == "2026-05-13T12:15:00Z")
        #expect(job["oldest_overdue_seconds"] as? Double == 1.5)
        #expect((job["oldest_overdue_measured_at"] as? String)?.hasPrefix("2026-05-13T12:04:58") ?? false)
        #expect(job["deadline_seconds"] as? Double == 240 && job["success_budget_seconds"] as? Double == 840)
        #expect((job["recent_runs"] as? [Any])?.count == 3)
        let failing = try #require(job["failing"] as? [String: Any])
        #expect(failing["since"] as? String == "2026-05-13T12:10:00Z" && failing["attempts"] as? Int == 1)
        #expect((failing["message"] as? String)?.contains("no DELETE privilege") ?? false)
        #expect((failing["runbook"] as? String)?.hasSuffix("#the-database-refuses") ?? false)
    }

    @Test func documentsEveryKey() throws {
        var service = Simulated()
        service.answer(1, .transientSessions, .failed, failure: .noPrivilege)
        service.beginRun()
        service.record(.reloadFailed("x"))
        let text = "\(service.state.document(at: service.now))"
        let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
            "../../docs/monitoring.md")
        let documentation = try String(contentsOf: path, encoding: .utf8)
        let keys = Set(text.matches(of: /"([a-z0-9_]+)":/).map { String($0.1) })
        #expect(keys.count > 35)
        for key in keys { #expect(documentation.contains("`\(key)`"), "\(key)") }
    }
}

extension Simulated {
    /// The page's text without its markup, style and script, as a reader sees it.
    var visible: String {
        let live = page.components(separatedBy: "<!--live-->")[1]
        return live.replacing(/<[^>]*>/, with: " ").replacing(/\s+/, with: " ")
            .replacing("&quot;", with: "\"").replacing(/\ ([,.:;)])/) { "\($0.1)" }.replacing("( ", with: "(")
    }
}
