@testable import SessionCleanup
import Testing

@Suite struct RuleTests {
    @Test(arguments: [
        (Job.transientSessions, SchemaGeneration.active, "expires_at < $1 AND active IS NOT TRUE"),
        (.transientSessions, .status, "expires_at < $1 AND expires_at IS NOT NULL AND status <> 'active'"),
        (.dormantSessions(), .active, "active = true AND updated_at < $1 - interval '720 hours'"),
        (.dormantSessions(), .status, "status = 'active' AND updated_at < $1 - interval '720 hours'"),
    ])
    func theBuiltInJobsSayExactlyWhatTheyRemove(job: Job, generation: SchemaGeneration, predicate: String) {
        #expect(job.rule(for: generation).predicate == predicate)
    }

    @Test(arguments: [
        (Duration.seconds(3600), "interval '1 hours'"),
        (.seconds(5400), "interval '5400 seconds'"),
        (.seconds(90 * 86_400), "interval '2160 hours'"),
        (.milliseconds(3_600_500), "interval '3600.500 seconds'"),
        (.seconds(3600) + .nanoseconds(1), "interval '3600.001 seconds'"),
    ])
    func anAgeIsNeverInDaysAndNeverRoundedDown(after: Duration, interval: String) {
        let rule = Rule(candidates: "active = true", column: "updated_at", after: after)
        #expect(rule.predicate == "active = true AND updated_at < $1 - \(interval)")
        let time = "LEAST(updated_at, timestamp with time zone '9999-12-31 00:00:00+00')"
        #expect(rule.dueSince == "\(time) OPERATOR(pg_catalog.+) \(interval)")
    }

    @Test func statementsNameTheOperatorsOfTheCatalog() {
        let rule = Rule(candidates: "status <> 'active'", column: "updated_at", after: .seconds(3600))
        #expect(
            rule.predicate(cutoff: "now()") == "updated_at OPERATOR(pg_catalog.<) ((now()) OPERATOR(pg_catalog.-) "
                + "interval '1 hours') AND status OPERATOR(pg_catalog.<>) 'active'")
    }

    @Test func withoutAnAgeTheColumnItselfDecides() {
        #expect(Job.transientSessions.rule.dueSince == "expires_at")
    }

    @Test func jobsAreKnownByNameAndByShortName() {
        #expect(Job.transientSessions.isNamed("transient"))
        #expect(Job.transientSessions.isNamed("mcp-cleanup-transient-sessions"))
        #expect(!Job.transientSessions.isNamed("dormant"))
        #expect(!Job.transientSessions.isNamed(""))
        #expect(Job.dormantSessions().isNamed("dormant"))
    }
}
