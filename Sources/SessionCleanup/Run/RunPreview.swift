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
    /// Counts what is due and asks for the plan. Everything that stops a run before its first batch, and what makes the
    /// server refuse each batch, stops this too.
    func preview(in session: DatabaseSession) async throws(RunFailure) -> RunPreview {
        let (survey, comparison) = try await look(in: session, known: nil)
        var trusted: SchemaGeneration?
        if try usesHistory(survey), table.schema == .auto {
            trusted = try await session.read(HistorySQL.trustedSchema).reading { result in
                try result.rows.first.flatMap { SchemaGeneration(rawValue: try $0.text("session_schema")) }
            }
        }
        let target = try await target(survey, comparison, trusted: trusted, in: session)
        try await survey.requireDeletePlan(in: session)
        let count = try await session.read(
            SearchSQL.countDue(table.name, target.rule, cutoff: target.cutoff), limit: session.budget.remaining,
            path: target.path, unfiltered: target.unfiltered)
        let plan = try await table.plan(for: target.rule, cutoff: target.cutoff, in: session)
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
    /// Returns how the server would look for due rows: the type of the plan's top node, and the first index in it.
    func plan(
        for rule: Rule, cutoff: UTCInstant, in session: DatabaseSession
    ) async throws(RunFailure) -> (node: String, index: String?) {
        let explanation = try await session.read(
            SearchSQL.explain(name, rule, cutoff: cutoff), path: rule.condition == nil ? .catalog : .role)
        let document = try explanation.reading { try $0.onlyRow().text("QUERY PLAN") }
        let plan = try await session.read(SearchSQL.readPlan(document))
        return try plan.reading { result in
            let row = try result.onlyRow()
            return (try row.text("node"), try row.textIfPresent("index"))
        }
    }
}
