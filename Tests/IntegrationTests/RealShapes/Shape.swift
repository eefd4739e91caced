import SeededRandom
import SessionCleanup
import Testing

/// A database as applications have them: a choice for each of several dimensions. All choices go together.
struct Shape: Sendable, CustomTestStringConvertible {
    enum Layout: CaseIterable { case plain, threePartitions, manyPartitions, inheritance }

    /// A foreign key to the sessions: of a table `child`, or of the sessions themselves.
    enum Key: CaseIterable {
        case none, cascade, setNull, restrict, deferred, ownCascade, ownSetNull, ownRestrict

        var isOwn: Bool { [.ownCascade, .ownSetNull, .ownRestrict].contains(self) }
        var keepsChildren: Bool { [.cascade, .setNull].contains(self) }
    }

    enum Trigger: CaseIterable {
        case none, before, after, slowBefore, slowAfter, slowDeferred, slowStatement
        case raisesBefore, raisesAfter, raisesDeferred, raisesAnyCode, vetoes
        case updatesItsRow, softDeletes, guardsAgainstMassDeletes, deletesOthers, renewsOthers

        var isSlow: Bool { [.slowBefore, .slowAfter, .slowDeferred].contains(self) }
        /// The rows that go directly, and for `renewsOthers` those that stay, depend on the order.
        var dependsOnOrder: Bool { [.deletesOthers, .renewsOthers].contains(self) }
    }

    /// Who runs it, under which policies. Those of `@mcp-ts/sdk` are for a role `authenticated` and compare `auth.uid()`.
    enum Security: CaseIterable {
        case superuser, leastPrivilege, policyOfRole, policyOfPublic, policyForEachCommand, memberOfAuthenticated
        case policyByFunction, restrictivePolicy

        var hasPolicies: Bool { self != .superuser && self != .leastPrivilege }
        /// Nothing tells that the policies hide no row.
        var isRefused: Bool { self == .policyByFunction || self == .restrictivePolicy }
    }

    /// What another transaction holds during the run.
    enum Holder: CaseIterable { case nothing, sessions, sessionsForKeyShare, children }

    var generation: SchemaGeneration
    var layout: Layout
    var key: Key
    var isIndexed: Bool
    var trigger: Trigger
    var security: Security
    var holder: Holder
    var isDormant: Bool

    /// Each trigger with each layout (with many partitions each second one, for the time that they take), each key with each
    /// layout, and the other dimensions beside them in turns.
    static let table: [Shape] = (0..<Trigger.allCases.count * Layout.allCases.count).map { number in
        let layouts = Layout.allCases + Layout.allCases.map { $0 == .manyPartitions ? .plain : $0 }
        func pick<Value>(_ values: [Value], _ number: Int) -> Value { values[number % values.count] }
        return Shape(
            generation: pick(SchemaGeneration.allCases, number / 4), layout: pick(layouts, number),
            key: pick(Key.allCases, number / 4), isIndexed: number % 3 != 0, trigger: pick(Trigger.allCases, number),
            security: pick(Security.allCases, number * 3 / 4), holder: pick(Holder.allCases, number / 5),
            isDormant: number % 5 == 0)
    }

    /// A random shape.
    init(using random: inout SeededRandom) {
        self.init(
            generation: random.pick(SchemaGeneration.allCases), layout: random.pick(Layout.allCases),
            key: random.pick(Key.allCases), isIndexed: random.chance(2), trigger: random.pick(Trigger.allCases),
            security: random.pick(Security.allCases), holder: random.pick(Holder.allCases),
            isDormant: random.chance(3))
    }

    init(
        generation: SchemaGeneration, layout: Layout, key: Key, isIndexed: Bool, trigger: Trigger, security: Security,
        holder: Holder, isDormant: Bool
    ) {
        self.generation = generation
        self.layout = layout
        // What other sessions, keys and locks bring about would depend on the order too.
        self.key = trigger.dependsOnOrder ? .none : key
        self.isIndexed = isIndexed
        self.trigger = trigger
        self.security = security
        self.holder = trigger.dependsOnOrder || holder == .children && !key.keepsChildren ? .nothing : holder
        self.isDormant = isDormant
    }

    var testDescription: String {
        "\(generation) \(layout) key \(key)\(isIndexed ? " indexed" : "") trigger \(trigger) \(security) "
            + "held \(holder)\(isDormant ? " dormant" : "")"
    }

    var job: String { isDormant ? "dormant" : "transient" }

    /// A single row may take 20 ms.
    var dueCount: Int { trigger.isSlow ? 30 : 120 }

    /// The condition of the statement that the job stands for, in the words of the seed.
    var due: String {
        switch (isDormant, generation) {
        case (false, .active): "expires_at < now() AND active IS NOT TRUE"
        case (false, .status): "expires_at IS NOT NULL AND expires_at < now() AND status <> 'active'"
        case (true, .active): "active = true AND updated_at < now() - interval '30 days'"
        case (true, .status): "status = 'active' AND updated_at < now() - interval '30 days'"
        }
    }

    /// Which rows are left depends on the order in which others go: a deletion renews other sessions. A key that is set to
    /// NULL does, by the trigger on updates.
    var leavesAnyOf: Bool { trigger == .renewsOthers || key == .ownSetNull && isDormant }

    /// What the run deletes directly does not depend on the order in which it deletes.
    var countsAreCertain: Bool { !trigger.dependsOnOrder && key != .ownCascade && !leavesAnyOf }
}
