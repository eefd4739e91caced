/// How many rows the next batch takes, found by trying: as many as the server deletes within a part of the target's time.
struct BatchSize: Hashable, Sendable {
    private(set) var rows: Int
    private let most: Int
    private let aim: Duration

    /// The server's work on the rows takes a quarter of the target: the commit that follows writes all of it to the disk,
    /// the next rows may be slower than these, and whoever comes for one of them waits for the whole batch.
    private static let share = 4

    /// Few enough to be harmless on a server of which nothing is known yet.
    private static let first = 100

    /// - Parameter most: at least 1.
    init(target: Duration, most: Int) {
        aim = target / Self.share
        self.most = most
        rows = min(Self.first, most)
    }

    /// The server worked for so long on a batch of so many rows. The way there and back is not a part of it: fewer rows
    /// would not shorten that, and to a distant server it may be longer than the target.
    ///
    /// Grows to the double at most: one fast batch says little about the next. Shrinks at once to what would have fit.
    mutating func batchEnded(rows count: Int, after work: Duration) {
        let fitting = work > .zero ? Double(count) * (aim / work) : .infinity
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
