import Postgres
import Time

/// Reading, what comes before the first batch, and what measures one.
extension Deletion {
    /// - Returns: `nil` if the server ended the statement at its time limit.
    func read(_ sql: String, prefersIndexes: Bool = false) async throws(RunFailure) -> QueryResult? {
        let sent = ContinuousClock.now
        do {
            return try await session.read(
                sql, path: target.path, prefersIndexes: prefersIndexes, unfiltered: target.unfiltered)
        } catch {
            let isTooLong =
                error.sqlState == "57014" && sent.duration(to: .now) >= session.budget.transactionLimit * 9 / 10
            guard isTooLong else { throw error }
            return nil
        }
    }

    /// The failure of a run that cannot read all that may be due within a transaction's time.
    var tooSlow: RunFailure { .database(.timedOut(during: .querying, limit: session.budget.transactionLimit)) }

    /// Renews the heartbeat if due, a sixth of the lease after the last renewal; called before each step and batch, since
    /// one that deletes nothing renews none. One search may add up to a third of the lease.
    mutating func renewClaim() async throws(RunFailure) {
        guard let claim = runner.claim, claim.renewed.duration(to: .now) > run.history.lease / 6 else { return }
        try await runner.renewClaim()
    }

    /// The guard of a job with `max-fraction`: counts the table before anything is deleted.
    mutating func refuseMore(than share: Double) async throws(RunFailure) {
        var (due, total) = (0, 0)
        let pages = try await Survey.pages(of: target.parts, in: session)
        var walk = PageWalk(pages: pages.values.max() ?? 0, searchLimit: .max - 1, canBatch: false)
        while case .search(let pages, _) = walk.step {
            try await renewClaim()
            let started = ContinuousClock.now
            let sql = SearchSQL.countOnPages(target.table, target.rule, cutoff: target.cutoff, pages)
            guard let result = try await read(sql) else {
                guard walk.searchTimedOut() else { throw tooSlow }
                continue
            }
            (due, total) = try result.reading { result in
                let row = try result.onlyRow()
                return (due + (try row.integer("due")), total + (try row.integer("total")))
            }
            _ = walk.found(0, after: started.duration(to: .now))
        }
        // Both sides are the Double nearest to their fraction, so that a share of 0.29 admits 29 of 100 rows.
        if total > 0, Double(due) / Double(total) > share {
            throw .tooManyDue(target.table, due: due, total: total, limit: share)
        }
    }

    /// Deletes rows of `mcp_cleanup.removed` that are past the retention: at most 100 times 10,000, the oldest first.
    mutating func prune(_ recording: RemovedSQL.Recording) async throws(RunFailure) {
        let script = Script(RemovedSQL.prune(before: target.cutoff - recording.retention), as: .row)
        for _ in 0..<RemovedSQL.mostPrunes {
            try await renewClaim()
            let pruned = try await session.write(script).read(.row) { try $0.onlyRow().integer("pruned") }
            if pruned < RemovedSQL.pruneLimit { break }
        }
    }

    /// Executes a batch again after its row was deleted: its cost is then the constant part, which each batch costs.
    mutating func measureConstant(
        _ batch: ArraySlice<RowAddress>, of relation: BatchSQL.Relation
    ) async throws(RunFailure) {
        let outcome = try await runner.execute(
            .addresses(batch, inOnePass: false), of: relation, limit: nil, waitsBriefly: true)
        guard case .done(let done) = outcome else { return }
        try record(done, inOnePass: false)
        if done.locked == 0 { size.emptyBatchEnded(cost: done.cost) }
    }
}
