/// How many rows the next batch takes, from what the batches before it cost.
///
/// A batch costs a constant part and a part for each row. The constant part (planning over many partitions, a statement
/// trigger, the commit) does not shrink with the batch, so it must not drive the size down to single rows.
struct BatchSize: Hashable, Sendable {
    private(set) var count = 1
    private let most: Int
    /// `batch.target-duration`: the longest time that a batch should hold its locks.
    private let limit: Duration
    private var samples: [Sample] = []
    /// The estimated parts of the cost, in microseconds.
    private var constant = 0.0
    private var perRow = 0.0
    /// The least that a row has cost together with its part of the constant: no row costs more.
    private var cheapest = Double.infinity
    /// True once batches of different sizes have been measured.
    private var hasCompared = false
    /// The largest size that a guard of the application's lets pass; see `guardFound`.
    private var cap = Int.max

    private struct Sample: Hashable, Sendable {
        let rows: Double
        let cost: Double
    }

    /// Small batches whose commits wait for the disk disturb clients least: their own commits never wait for much WAL.
    /// Half of it delays nothing less, and costs a quarter more time.
    private static let aim = Duration.milliseconds(2)
    /// Enough to average out a stall of the disk, few enough to follow a change within a second.
    private static let memory = 12
    /// A batch that takes longer than it may, and more than this many times what was expected, says that rows have become
    /// dearer: the size follows at once.
    private static let surprise = 3.0
    /// Below this size it is worthwhile to compare two sizes again.
    private static let fewRows = 16

    /// - Parameters:
    ///   - limit: the longest time that a batch should take.
    ///   - most: rows that a batch takes at most; at least 1.
    init(limit: Duration, most: Int) {
        self.limit = limit
        self.most = most
    }

    /// A batch of `rows` rows has been committed.
    ///
    /// - Parameters:
    ///   - cost: the server's time for it, commit included.
    ///   - roundTrip: the time beside that. To a distant server a batch may work for as long as its message travels.
    mutating func batchEnded(_ rows: Int, cost: Duration, roundTrip: Duration) {
        guard rows > 0 else { return }
        let sample = Sample(rows: Double(rows), cost: max(1, cost / .microseconds(1)))
        // Rows of another kind: what was learned from those before says nothing about them.
        if sample.cost > (constant + perRow * sample.rows) * Self.surprise, cost > self.limit {
            samples = []
            cheapest = .infinity
        }
        samples.append(sample)
        cheapest = min(cheapest, sample.cost / sample.rows)
        if samples.count > Self.memory {
            samples.removeFirst()
            // The comparison may have met a busy machine, and a few rows at a time must not be for good.
            if count < Self.fewRows, !isSpread, cost < self.limit { hasCompared = false }
        }
        estimate()
        let limit = limit / .microseconds(1)
        let travel = min(roundTrip / .microseconds(1), limit / 4)
        // At least as much work as the constant part: half of the time is for rows, then.
        let wanted = max(Self.aim / .microseconds(1) - constant, constant, travel)
        let work = min(wanted, max(limit / 2 - constant, constant))
        var fitting = min(work / max(perRow, 0.001), 1e9)
        // One size says nothing about the two parts. Trying a second one is affordable unless a row costs very much.
        if !hasCompared, cost < self.limit * 2 { fitting = max(fitting, Double(count * 2)) }
        // One cheap batch says little about the next: at most double.
        if Int(fitting) < count || rows >= count { count = Int(min(fitting, Double(count * 2))) }
        count = max(1, min(count, most, cap))
    }

    /// A batch of this size failed, and was not committed.
    mutating func batchFailed(_ rows: Int) { count = max(1, min(count, rows / 2)) }

    /// A batch of some size is refused, and its rows pass in smaller ones: a trigger guards against mass deletes.
    mutating func guardFound(largestThatPassed: Int) { cap = max(1, largestThatPassed) }

    /// True if the last batches had different sizes.
    private var isSpread: Bool {
        let rows = samples.map(\.rows)
        guard let least = rows.min(), let greatest = rows.max() else { return false }
        return greatest >= least * 2
    }

    /// Estimates both parts from the cheapest small batch and the cheapest large one: what else a busy machine does can only
    /// add to a cost. What it adds to most batches counts as a constant part, which larger batches share.
    private mutating func estimate() {
        let sizes = samples.map(\.rows)
        guard let least = sizes.min(), let most = sizes.max() else { return }
        let middle = (least + most) / 2
        if isSpread, let small = samples.filter({ $0.rows <= middle }).min(by: { $0.cost < $1.cost }),
            let large = samples.filter({ $0.rows > middle }).min(by: { $0.cost < $1.cost })
        {
            hasCompared = true
            perRow = max(0, (large.cost - small.cost) / (large.rows - small.rows))
        } else {
            perRow = samples.map { max(0, $0.cost - constant) / $0.rows }.min() ?? cheapest
        }
        perRow = min(perRow, cheapest)
        let rests = samples.map { max(0, $0.cost - perRow * $0.rows) }.sorted()
        constant = rests[rests.count / 2]
    }
}
