/// Whether the next batch may delete in one pass, which costs half of locking its rows first.
///
/// A pass that meets a locked row has worked in vain, and where one row is locked others may be: the batches after it go
/// through SKIP LOCKED, twice as many after each failure in a row.
struct OnePass: Sendable {
    private let isPossible: Bool
    /// Batches that go through SKIP LOCKED before one pass is tried again.
    private var left = 0
    /// How many they were after the last failure.
    private var length = 0
    /// True after one pass over addresses left a row: moved, renewed, or kept by a trigger that is new. What is still due is
    /// found again, and locking it first tells kept rows from others.
    private var hasLeftRow = false

    /// A try in 32 batches costs at most a thirtieth of their time.
    private static let longest = 32

    init(isPossible: Bool) { self.isPossible = isPossible }

    var isWorthTrying: Bool { isPossible && left == 0 }
    var isWorthTryingByAddress: Bool { isWorthTrying && !hasLeftRow }

    /// One pass met a lock, or found more rows than a batch may take or has time for.
    mutating func failed() {
        length = min(max(1, length * 2), Self.longest)
        left = length
    }

    /// A batch has been committed.
    ///
    /// - Parameter leftRow: true if it was to delete more rows than it did.
    mutating func batchEnded(inOnePass: Bool, leftRow: Bool) {
        if inOnePass { length = 0 } else { left = max(0, left - 1) }
        if inOnePass, leftRow { hasLeftRow = true }
    }
}
