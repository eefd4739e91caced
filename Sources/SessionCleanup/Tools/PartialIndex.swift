import Postgres

/// An optional index over the rows that a job may ever remove, and no others: with it, a search costs what is due, however
/// many rows the table has.
struct PartialIndex: Hashable, Sendable {
    let table: TableName
    let name: String
    let rule: Rule

    /// - Parameter purpose: the last part of its name: the job's short name.
    init(on table: TableName, for purpose: String, rule: Rule) {
        self.table = table
        self.rule = rule
        // At most 63 bytes, or the server would cut the name, and both to the same.
        let ending = "_cleanup_\(purpose)"
        var stem = "idx_\(table.table)".unicodeScalars
        while String(stem).utf8.count + ending.utf8.count > 63 { stem.removeLast() }
        name = String(stem) + ending
    }
}

extension SessionTable {
    /// The indexes for those of the jobs that have a short name.
    func partialIndexes(for jobs: [Job], of generation: SchemaGeneration?) -> [PartialIndex] {
        jobs.compactMap { job in
            job.shortName.map { PartialIndex(on: name, for: $0, rule: job.rules.rule(for: generation)) }
        }
    }
}
