@testable import SessionCleanup
import Testing

@Suite struct RowSecurityTests {
    private static func policy(
        _ command: RowSecurity.Command?, _ condition: String?, restrictive: Bool = false, name: String = "p"
    ) -> RowSecurity.Policy {
        RowSecurity.Policy(name: name, command: command, isPermissive: !restrictive, condition: condition)
    }

    private static let open = policy(nil, "true")
    private static let all = RowSecurity.Command.allCases

    @Test(arguments: [
        [open],
        [policy(.select, "true"), policy(.update, "true"), policy(.delete, "true")],
        [policy(nil, "(user_id = 'x'::text)"), open],
        [open, policy(nil, "true", restrictive: true)],
        // A restrictive policy with no USING has only a WITH CHECK, which is about rows written.
        [open, policy(.update, nil, restrictive: true)],
    ])
    func everyCommandWithAnUnconditionalPolicyReachesAllRows(policies: [RowSecurity.Policy]) {
        #expect(RowSecurity.obstacle(among: policies, to: Self.all) == nil)
    }

    @Test(arguments: [
        ([], RowSecurity.Command.select),
        ([policy(.select, "true"), policy(.delete, "true")], .update),
        ([policy(.select, "true"), policy(.update, "true")], .delete),
        ([policy(.update, "true"), policy(.delete, "true")], .select),
        ([policy(nil, "(1 = 1)")], .select),
        ([policy(nil, "(user_id = CURRENT_USER)")], .select),
        ([policy(nil, nil)], .select),
        ([policy(nil, "TRUE")], .select),
        ([policy(nil, "true", restrictive: true)], .select),
    ])
    func aCommandWithoutAnUnconditionalPolicyIsAnObstacle(policies: [RowSecurity.Policy], command: RowSecurity.Command)
    {
        #expect(RowSecurity.obstacle(among: policies, to: Self.all) == .noUnconditionalPolicy(command))
    }

    @Test(arguments: [RowSecurity.Command?.none, .select, .update, .delete])
    func aRestrictivePolicyWithAConditionIsAnObstacle(command: RowSecurity.Command?) {
        let policies = [Self.open, Self.policy(command, "(NOT enabled)", restrictive: true, name: "only-some")]
        #expect(RowSecurity.obstacle(among: policies, to: Self.all) == .restrictivePolicy("only-some"))
    }

    @Test func readingNeedsPoliciesForSelectOnly() {
        let policies = [Self.policy(.select, "true"), Self.policy(.delete, "false", restrictive: true)]
        #expect(RowSecurity.obstacle(among: policies, to: [.select]) == nil)
        #expect(RowSecurity.obstacle(among: policies, to: Self.all) == .noUnconditionalPolicy(.update))
    }
}
