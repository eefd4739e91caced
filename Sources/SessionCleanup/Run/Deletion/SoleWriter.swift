/// The proof that no transaction but ours has written since the walk over pages began. While it holds, a last search would
/// find nothing, and need not visit all that was deleted once more.
///
/// A transaction that writes in any database of the server, or locks a row, takes the next number (xid). If none was under
/// way at the beginning, and each batch took exactly one number, then each row that was due still lay in its page when the
/// batch came. One pass waits for a locked row; if it fails for that, the failed batch has taken a number as well.
struct SoleWriter: Sendable {
    /// The number that the next transaction takes.
    private var next: Int

    /// Returns `nil` if a transaction that writes is under way.
    /// - Parameters:
    ///   - oldest: `pg_snapshot_xmin`, the lowest number whose transaction has not ended.
    ///   - next: `pg_snapshot_xmax`, the one behind the highest whose transaction has.
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
