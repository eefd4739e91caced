import Postgres

/// The proof that no transaction but ours has written since the walk over pages began. If it holds to the end of the walk, a
/// last search would find nothing, and need not visit all that was deleted once more.
///
/// A transaction that writes in any database of the server, or locks a row, takes the next number (xid). If none was under
/// way at the beginning, and each batch took exactly one number, then each row that was due still lay in its page when the
/// walk came to it. A batch in one pass waits for a locked row: the other transaction has taken a number, and so has a batch
/// that fails for it. What triggers write has the batch's own number; `Target.Part.mayBringRows` is about that.
struct SoleWriter: Hashable, Sendable {
    /// The number that the next transaction takes.
    private var next: Int

    /// Returns `nil` if a transaction that writes is under way.
    /// - Parameters:
    ///   - oldest: `pg_snapshot_xmin`, the lowest number whose transaction has not ended.
    ///   - next: `pg_snapshot_xmax`, the number after the highest one whose transaction has ended.
    init?(oldest: Int, next: Int) {
        guard oldest == next else { return nil }
        self.next = next
    }

    /// A batch in one pass has been committed.
    /// - Returns: false if another transaction may have written.
    mutating func batchEnded(_ batch: BatchRunner.Batch) -> Bool {
        next += batch.hasNumber ? 1 : 0
        return next == batch.next
    }
}

extension Deletion {
    /// Returns `nil` if a transaction that writes is under way, or where batches never take one pass.
    ///
    /// - Throws: the server's error if row security hides rows by now, as a search would.
    func transactions() async throws(RunFailure) -> SoleWriter? {
        guard target.mayPassOnce else { return nil }
        return try await session.read(SearchSQL.transactions, unfiltered: target.unfiltered).reading { result in
            let row = try result.onlyRow()
            return SoleWriter(oldest: try row.integer("oldest"), next: try row.integer("next"))
        }
    }

    /// True if a last search would find nothing.
    ///
    /// Reads numbers and parts again: searches may have followed the last batch, and others may have written meanwhile;
    /// and the parts were read before the walk.
    func nothingHasMoved() async throws(RunFailure) -> Bool {
        guard let soleWriter, !target.parts.contains(where: \.mayBringRows) else { return false }
        let parts = try await target.survey.parts(in: session)
        let now = try await transactions()
        return parts == target.parts && now == soleWriter
    }
}
