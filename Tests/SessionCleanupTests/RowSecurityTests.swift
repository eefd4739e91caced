@testable import SessionCleanup
import Testing

@Suite struct RowSecurityTests {
    private static func policy(
        _ command: String?, _ condition: String?, restrictive: Bool = false, name: String = "p"
    ) -> RowPolicy {
        RowPolicy(name: name, command: command, isPermissive: !restrictive, condition: condition)
    }

    private static let open = policy(nil, "true")
    private static let all = Purpose.deleting.commands

    @Test(arguments: [
        [open],
        [policy("SELECT", "true"), policy("UPDATE", "true"), policy("DELETE", "true")],
        [policy(nil, "(user_id = 'x'::text)"), open],
        [open, policy(nil, "true", restrictive: true)],
        // A restrictive policy with no USING has only a WITH CHECK, which is about rows written.
        [open, policy("UPDATE", nil, restrictive: true)],
    ])
    func everyCommandWithAnUnconditionalPolicyReachesAllRows(policies: [RowPolicy]) {
        #expect(RowPolicy.obstacle(among: policies, to: Self.all) == nil)
    }

    @Test(arguments: [
        ([], "SELECT"),
        ([policy("SELECT", "true"), policy("DELETE", "true")], "UPDATE"),
        ([policy("SELECT", "true"), policy("UPDATE", "true")], "DELETE"),
        ([policy("UPDATE", "true"), policy("DELETE", "true")], "SELECT"),
        ([policy(nil, "(1 = 1)")], "SELECT"),
        ([policy(nil, "(user_id = CURRENT_USER)")], "SELECT"),
        ([policy(nil, nil)], "SELECT"),
        ([policy(nil, "TRUE")], "SELECT"),
        ([policy(nil, "true", restrictive: true)], "SELECT"),
    ])
    func aCommandWithoutAnUnconditionalPolicyIsAnObstacle(policies: [RowPolicy], command: String) {
        #expect(
            RowPolicy.obstacle(among: policies, to: Self.all)
                == "no policy for \(command) applies to it with USING (true)")
    }

    @Test(arguments: [String?.none, "SELECT", "UPDATE", "DELETE"])
    func aRestrictivePolicyWithAConditionIsAnObstacle(command: String?) {
        let policies = [Self.open, Self.policy(command, "(NOT enabled)", restrictive: true, name: "only-some")]
        #expect(RowPolicy.obstacle(among: policies, to: Self.all) == "the restrictive policy only-some applies to it")
    }

    @Test func readingNeedsPoliciesForSelectOnly() {
        let policies = [Self.policy("SELECT", "true"), Self.policy("DELETE", "false", restrictive: true)]
        #expect(RowPolicy.obstacle(among: policies, to: Purpose.reading.commands) == nil)
        #expect(
            RowPolicy.obstacle(among: policies, to: Self.all) == "no policy for UPDATE applies to it with USING (true)")
    }
}
