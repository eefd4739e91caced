import Postgres
package import Time

/// What a run would find.
package struct RunPreview: Sendable {
    package let job: String
    package let dueRows: Int
    /// Since when the oldest of them is due; `nil` when there is none, or when that time has no name.
    package let oldestDueAt: UTCInstant?
    package let cutoff: UTCInstant
    /// The type of the search plan's top node, as EXPLAIN names it: `Seq Scan`, `Bitmap Heap Scan`, `Append`, ….
    package let plan: String
    /// The first index that the plan uses.
    package let index: String?
}

extension CleanupRun {
    /// Counts what is due and asks for the plan. The same looking first as a run's, so that what would stop a run
    /// stops this too.
    func preview(over connection: isolated Connection, clock: RunClock) async throws(RunFailure) -> RunPreview {
        var shape: SessionTable.Shape?
        let look = try await look(over: connection, clock: clock, known: nil)
        let target = try await target(look, over: connection, clock: clock, shape: &shape)
        let cutoff: [Parameter] = [.timestamp("\(target.cutoff)")]
        let count = try await connection.finishTransaction(
            clock, Statements.countDue(in: table.name, rule: target.rule), cutoff, limit: clock.remaining)
        let plan = try await table.plan(for: target.rule, cutoff: target.cutoff, over: connection, clock: clock)
        return try count.reading { result in
            let row = try result.onlyRow()
            return RunPreview(
                job: job.name, dueRows: try row.integer("due"),
                oldestDueAt: try row.instantIfPresent("oldest_due_at"), cutoff: target.cutoff, plan: plan.node,
                index: plan.index)
        }
    }
}

extension SessionTable {
    /// How the server would look for what is due: the type of the plan's top node, and the first index in it.
    func plan(
        for rule: Rule, cutoff: UTCInstant, over connection: isolated Connection, clock: RunClock
    ) async throws(RunFailure) -> (node: String, index: String?) {
        let explanation = try await connection.finishTransaction(
            clock, Statements.explainSearch(of: name, rule: rule), [.timestamp("\(cutoff)")])
        let document = try explanation.reading { try $0.onlyRow().text("QUERY PLAN") }
        let plan = try await connection.finishTransaction(clock, Statements.readPlan, [.text(document)])
        return try plan.reading { result in
            let row = try result.onlyRow()
            return (try row.text("node"), try row.textIfPresent("index"))
        }
    }
}
