import SeededRandom
import SessionCleanup
import Testing

/// A database as applications have them: one choice in each of several dimensions, in any combination.
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
        /// The order of deletions decides which rows the run deletes directly, and for `renewsOthers` which rows stay.
        var dependsOnOrder: Bool { [.deletesOthers, .renewsOthers].contains(self) }
    }

    /// The run's role and the policies. Those of `@mcp-ts/sdk` are for a role `authenticated` and compare `auth.uid()`.
    enum Security: CaseIterable {
        case superuser, leastPrivilege, policyOfRole, policyOfPublic, policyForEachCommand, memberOfAuthenticated
        case policyByFunction, restrictivePolicy

        var hasPolicies: Bool { self != .superuser && self != .leastPrivilege }
        /// True if the run is refused, since nothing proves that the policies hide no row.
        var isRefused: Bool { self == .policyByFunction || self == .restrictivePolicy }
    }

    /// The rows that another transaction locks during the run.
    enum Holder: CaseIterable { case nothing, sessions, sessionsForKeyShare, children }

    var generation: SchemaGeneration
    var layout: Layout
    var key: Key
    var isIndexed: Bool
    var trigger: Trigger
    var security: Security
    var holder: Holder
    var isDormant: Bool

    /// Each trigger with each layout (every second one with many partitions, which take long), each key with each
    /// layout, and the choices of the other dimensions in turns.
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
        // The effects of keys and locks on other sessions would depend on the order too.
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

    /// Fewer for a slow trigger, which may take 20 ms for each row.
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

    /// True if the order of deletions decides which rows are left: a deletion renews other sessions, by its trigger or
    /// by setting their key to NULL, which fires the trigger on updates.
    var leavesAnyOf: Bool { trigger == .renewsOthers || key == .ownSetNull && isDormant }

    /// True if the number of rows that the run deletes directly does not depend on the order of deletions.
    var countsAreCertain: Bool { !trigger.dependsOnOrder && key != .ownCascade && !leavesAnyOf }
}
