/// How many rows the next batch takes: as many as are deleted within the target's time, found by trying.
struct BatchSize: Hashable, Sendable {
    private(set) var rows: Int
    private let most: Int
    private let target: Duration

    /// Few enough to be harmless on a server of which nothing is known yet.
    private static let first = 100

    /// - Parameter most: at least 1.
    init(target: Duration, most: Int) {
        self.target = target
        self.most = most
        rows = min(Self.first, most)
    }

    /// A batch of so many rows held its locks for so long.
    ///
    /// Grows to the double at most: one fast batch says little about the next. Shrinks at once to what would have fit.
    mutating func batchEnded(rows count: Int, after duration: Duration) {
        let fitting = duration > .zero ? Double(count) * (target / duration) : .infinity
        if fitting < Double(rows) {
            rows = max(1, Int(fitting))
        } else if count >= rows {
            rows = Int(min(fitting, Double(rows * 2), Double(most)))
        }
    }

    /// The server ended a batch because it took too long.
    ///
    /// - Returns: whether a smaller one may succeed.
    mutating func batchTimedOut() -> Bool {
        guard rows > 1 else { return false }
        // A batch is ended at a hundred times the target or later.
        rows = max(1, rows / 10)
        return true
    }
}
