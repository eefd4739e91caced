import CleanupDaemon
import CleanupSchedule
import Foundation
@testable import Monitoring
@testable import SessionCleanup
import Testing
import Time

/// The states in which the page is checked; `scripts/page-pictures` draws each of them.
enum PageState: String, CaseIterable {
    case fresh, healthy, oneFailing = "one-failing", allFailing = "all-failing", databaseAway = "database-away"
    case reloadFailed = "reload-failed", replica, overdue, running, manyJobs = "many-jobs"

    /// The words that a reader has to see.
    var words: [String] {
        switch self {
        case .fresh: ["Waiting for the first run", "no run is known yet", "0 of 2", "from db.example.org/app"]
        case .healthy: ["removed on time", "Oldest expired session", "Jobs overdue 0 of 2"]
        case .oneFailing:
            ["▲ transient is failing; overdue at 07:54:00", "has no DELETE privilege", "What to do", "State ✓ healthy"]
        case .allFailing: ["✖ transient is overdue", "row security", "has no DELETE privilege"]
        case .databaseAway:
            ["transient is failing; overdue at", "cannot connect", "Next attempt in", "5 min 2 s ago, succeeded"]
        case .reloadFailed: ["Reload failed", "removed on time", "did you mean"]
        case .replica:
            [
                "removed on time", "in another process", "by all processes", "before this process began",
                "not measured by this process",
            ]
        case .overdue: ["✖ transient is overdue", "has not succeeded for", "Jobs overdue 1 of 2"]
        case .running: ["running for 41 s", "1,234,567 removed"]
        case .manyJobs:
            [
                "✖ \(Self.ownNames[0]) is overdue: rows that are due stay", "Jobs overdue 1 of 8", "98,789,733",
                "Nothing removed by the last 5 runs ✕ failed",
            ]
        }
    }

    private static let jobs = [Job.transientSessions, .dormantSessions()]

    /// Names of an operator's own jobs, as long as German names are.
    private static let ownNames = [
        "bereinigung-abgelaufener-mandantenverwaltungsberechtigungen", "anmeldeversuche", "oauth-clients",
        "einmalkennwoerter", "zustimmungsprotokolle-nach-aufbewahrungsfrist", "geraetezuordnungen",
    ]
    private static func ownJob(_ name: String) -> Job {
        let like = Job.transientSessions
        return Job(
            name: name, shortName: nil, schedule: like.schedule, deadline: like.deadline, table: .sessions,
            rule: like.rule)
    }

    /// A day of runs that remove varying numbers of sessions, the same in each execution of the tests.
    private static func day(from start: String = "2026-05-12T07:41:12Z", hours: Int = 24) -> Simulated {
        var service = Simulated(jobs, at: start)
        service.record(.databaseNamed("ep-cool-darkness-123456.us-east-2.aws.neon.tech/neondb"))
        for number in 0..<(hours * 12) {
            service.pass(service.untilNext(jobs[0]))
            let rows = 40 + Int(30 * sin(Double(number) / 20)) + number * 7919 % 37
            let isMidnight = service.now.wall.description.hasSuffix("T00:00:00Z")
            service.execute(jobs[0], deleted: rows, took: .milliseconds(30 + rows), oldest: .seconds(280 + number % 19))
            if isMidnight {
                service.execute(jobs[1], deleted: 2412, took: .milliseconds(1840), oldest: .seconds(86_000))
            }
        }
        service.pass(.seconds(131))
        return service
    }

    var service: Simulated {
        var service = self == .fresh || self == .replica ? Simulated(Self.jobs, at: "2026-05-12T07:41:12Z") : Self.day()
        let (transient, dormant) = (Self.jobs[0], Self.jobs[1])
        switch self {
        case .fresh:
            service.record(.databaseNamed("db.example.org/app"))
            service.pass(.seconds(40))
        case .healthy: break
        case .oneFailing: service.answer(2, transient, .failed, failure: .noPrivilege)
        case .allFailing:
            service.answer(4, transient, .failed, failure: .noPrivilege)
            service.run(
                dormant, .failed,
                failure: .rowSecurity(
                    .sessions, role: "mcp_service_role", "the restrictive policy tenant_only applies to it"))
        case .databaseAway:
            service.pass(service.untilNext(transient))
            service.beginRun(of: transient)
            service.arm(transient)
            service.pass(.seconds(3))
            service.record(
                .attemptEnded(
                    .ended(transient.name, .failed, at: service.now.wall, failure: .databaseAway),
                    nextAfter: .seconds(8)))
        case .reloadFailed:
            service.record(
                .reloadFailed(
                    "/etc/mcp-cleanupd/config.yaml:7:3: batch.max-row: there is no such key; did you mean max-rows?"))
        case .replica:
            service.record(.databaseNamed("db.internal/app"))
            let night = [(2412, Duration.seconds(27_671))]
            service.learn(night, first: 900, deletions: [30: 2412], of: dormant)
            for number in 1...7 {
                service.pass(service.untilNext(transient))
                service.run(transient, .skipped)
                service.tell(
                    lastEnd: service.now.wall, lastSuccess: service.now.wall, ago: .seconds(number), of: transient)
                let runs = (0..<36).map { (50 + $0 * 7919 % 37, Duration.seconds((35 - $0) * 300)) }
                service.learn(runs, deletions: [0: 250, 1: 200, 40: 14_000], of: transient)
            }
            service.tell(
                lastEnd: service.now.wall - .seconds(29_699), lastSuccess: service.now.wall - .seconds(29_699),
                ago: .seconds(29_699), of: dormant)
            service.pass(.seconds(77))
        case .overdue:
            service.pass(.seconds(3600))
            service.arm(transient)
        case .manyJobs:
            let jobs = Self.jobs + Self.ownNames.map(Self.ownJob)
            service = Simulated(jobs, at: "2026-05-12T07:41:12Z")
            service.record(
                .databaseNamed("mandantenverwaltung-primaer.datenbanken.example.org:5433/mandantenverwaltung"))
            for number in 1...5 {
                service.pass(service.untilNext(transient))
                for (index, job) in jobs.enumerated() where job.name != dormant.name {
                    let isFailed = index == 2
                    service.run(
                        job, isFailed ? .failed : .succeeded, failure: isFailed ? .noPrivilege : nil,
                        deleted: isFailed ? 0 : index == 7 ? 19_753_086 + number % 2 : index * number * 90)
                }
            }
            service.pass(.seconds(77))
        case .running:
            service.pass(service.untilNext(transient))
            service.beginRun(of: transient)
            service.arm(transient)
            service.record(.batchEnded(job: transient.name, after: .milliseconds(50), rowsDeleted: 1_234_567))
            service.pass(.seconds(41))
        }
        return service
    }
}

extension Simulated {
    /// A run that begins now and succeeds.
    fileprivate mutating func execute(_ job: Job, deleted: Int, took: Duration, oldest: Duration) {
        beginRun(of: job)
        arm(job)
        pass(took)
        record(.batchEnded(job: job.name, after: took, rowsDeleted: deleted))
        record(
            .runConcluded(
                .ended(job.name, .succeeded, at: now.wall, deleted: deleted, duration: took, oldestOverdue: oldest)))
    }

    fileprivate func untilNext(_ job: Job) -> Duration {
        job.schedule.next(after: now.wall).map { $0 - now.wall } ?? .zero
    }
}

@Suite struct PageStateTests {
    @Test(arguments: PageState.allCases)
    func everyStateIsSeenOnASmallPage(_ state: PageState) throws {
        let service = state.service
        for words in state.words { #expect(service.visible.contains(words), "\(words): \(service.visible)") }
        // Each job adds about 2 KB.
        #expect(service.page.utf8.count <= (state == .manyJobs ? 32_000 : 20_000), "\(service.page.utf8.count) bytes")
        guard let directory = ProcessInfo.processInfo.environment["MCP_CLEANUPD_PAGES"] else { return }
        try service.page.write(toFile: "\(directory)/\(state.rawValue).html", atomically: true, encoding: .utf8)
    }
}
