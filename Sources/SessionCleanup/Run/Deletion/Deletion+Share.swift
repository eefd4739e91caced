import Postgres

/// The guard of a job with `max-fraction`.
extension Deletion {
    /// Counts the table before anything is deleted.
    mutating func refuseMore(than share: Double) async throws(RunFailure) {
        var (due, total) = (0, 0)
        let pages = try await Survey.pages(of: target.parts, in: session)
        var walk = PageWalk(pages: pages.values.max() ?? 0, searchLimit: .max - 1, canBatch: false)
        while case .search(let pages, _) = walk.step {
            try await renewClaim()
            let started = ContinuousClock.now
            let sql = SearchSQL.countOnPages(target.table, target.rule, cutoff: target.cutoff, pages)
            guard let result = try await read(sql) else {
                guard walk.searchTimedOut() else {
                    throw .database(.timedOut(during: .querying, limit: session.budget.transactionLimit))
                }
                continue
            }
            (due, total) = try result.reading { result in
                let row = try result.onlyRow()
                return (due + (try row.integer("due")), total + (try row.integer("total")))
            }
            _ = walk.found(0, after: started.duration(to: .now))
        }
        // Both sides are the nearest number to a fraction, so that a share of 0.29 admits 29 of 100.
        if total > 0, Double(due) / Double(total) > share {
            throw .tooManyDue(target.table, due: due, total: total, limit: share)
        }
    }
}
