/// Whether the next batch may delete in one pass, which costs half of locking its rows first.
///
/// A pass that meets a locked row has worked in vain, and where one row is locked others may be: the batches after it go
/// through SKIP LOCKED, twice as many after each failure in a row.
struct OnePass: Sendable {
    /// Batches that go through SKIP LOCKED before one pass is tried again.
    private var left = 0
    /// How many they were after the last failure.
    private var length = 0

    /// A try in 32 batches costs at most a thirtieth of their time.
    private static let longest = 32

    var isWorthTrying: Bool { left == 0 }

    /// One pass met a lock, or more rows than a batch may take.
    mutating func failed() {
        length = min(max(1, length * 2), Self.longest)
        left = length
    }

    /// A batch has been committed.
    mutating func batchEnded(inOnePass: Bool) {
        if inOnePass { length = 0 } else { left = max(0, left - 1) }
    }
}
