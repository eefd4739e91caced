/// How much the next batch takes, in rows or in pages, found by trying: as much as the server does within a part of the
/// target's time.
struct BatchSize: Hashable, Sendable {
    private(set) var count: Int
    private let most: Int
    private let target: Duration
    /// The shortest there was: what is longer waited for something else than the way.
    private var roundTrip: Duration?

    /// The server's work on the rows takes a quarter of the target at most: the next rows may be slower than these, and
    /// whoever comes for one of them waits for the commit too.
    private static let share = 4

    /// Enough that work outweighs what it costs to begin and to end a transaction, and so little that few clients ever
    /// come for a row of the batch. To a distant server that cost is the way there and back, and the batch may work as long.
    private static let worthwhile = Duration.milliseconds(4)

    /// - Parameter most: at least 1.
    init(target: Duration, first: Int, most: Int) {
        self.target = target
        self.most = most
        count = min(first, most)
    }

    /// The server worked for so long on a batch of this size. The way there and back is not a part of it: a smaller batch
    /// would not shorten that, and to a distant server it may be longer than the target.
    ///
    /// Grows to the double at most: one fast batch says little about the next. Shrinks at once to what would have fit.
    mutating func batchEnded(_ size: Int, after work: Duration, roundTrip: Duration) {
        let shortest = min(self.roundTrip ?? roundTrip, roundTrip)
        self.roundTrip = shortest
        let aim = min(target / Self.share, max(Self.worthwhile, shortest))
        let fitting = work > .zero ? Double(size) * (aim / work) : .infinity
        if fitting < Double(count) {
            count = max(1, Int(fitting))
        } else if size >= count {
            count = Int(min(fitting, Double(count * 2), Double(most)))
        }
    }

    /// The next batch takes no more than this.
    mutating func shrink(to size: Int) {
        count = max(1, min(count, size))
    }

    /// The server ended a batch because it took too long.
    ///
    /// - Returns: whether a smaller one may succeed.
    mutating func batchTimedOut() -> Bool {
        guard count > 1 else { return false }
        // A batch is ended at a hundred times the target or later.
        count = max(1, count / 10)
        return true
    }
}
