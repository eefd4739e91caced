/// The number of rows that the next batch takes, computed from what the batches before it cost.
///
/// A batch costs a constant part and a part for each row. The constant part (planning over many partitions, a statement
/// trigger, the commit) does not shrink with the batch, so it must not drive the size down to single rows.
struct BatchSize: Hashable, Sendable {
    private(set) var count = 1
    private let most: Int
    /// `batch.target-duration`: the longest time that a batch should hold its locks.
    private let limit: Duration
    /// True if each deleted row is recorded as well.
    private let records: Bool
    private var samples: [Sample] = []
    /// The estimated parts of the cost, in microseconds.
    private var constant = 0.0
    private var perRow = 0.0
    /// True once different sizes have shown both parts; false again if these are forgotten and batches are expensive.
    private var hasCompared = false
    /// True once a second size has been tried. A busy machine's noise may have made it look expensive, so a later trial takes
    /// more rows, over which the noise is spread.
    private var hasFailedToGrow = false
    /// Batches take two thirds and four thirds of the size in turns: only different sizes show the two parts.
    private var isLargerTurn = false
    /// True after a batch that cost more than `surprise` times what was expected.
    private var isSurprised = false
    /// True while no other transaction writes: a batch disturbs no client then, and works for half of the limit. The batch after
    /// the first one that met another writer is small again.
    var isAlone = false
    /// The largest size that the application's trigger against mass deletes lets pass; see `guardFound`.
    private var cap = Int.max

    private struct Sample: Hashable, Sendable {
        let rows: Double
        let cost: Double
    }

    /// The least time to aim at, or half of `limit` if that is less. Small batches whose commits wait for the disk
    /// disturb clients least: their own commits never wait for much WAL.
    private static let aim = Duration.milliseconds(2)
    /// The least work on rows, as a multiple of a batch's constant cost, up to 4 ms (8 ms where rows are recorded,
    /// which doubles the cost of each); where the constant cost is higher, the work equals it. The constant cost is
    /// near 1 ms; batches with as much work as constant cost took three times as long as a single DELETE of all rows.
    private static let workPerConstant = 5.0
    /// Batches remembered: enough to average out a stall of the disk, few enough to follow a change within a second.
    private static let memory = 16
    /// The most rows of a later trial, unless twice the last size is more.
    private static let mostTried = 8
    /// A batch that costs more than this many times what was expected has met a stall of the server, or rows that are
    /// more expensive: the next batch, of a quarter of its rows, shows which.
    private static let surprise = 3.0

    /// - Parameters:
    ///   - limit: the longest time that a batch should take.
    ///   - most: rows that a batch takes at most; at least 1.
    ///   - records: true if each deleted row is recorded as well.
    init(limit: Duration, most: Int, records: Bool = false) {
        self.limit = limit
        self.most = most
        self.records = records
    }

    /// A batch of `rows` rows has been committed.
    ///
    /// - Parameters:
    ///   - cost: the server's time for it, commit included.
    ///   - roundTrip: the time beside that. To a distant server a batch may work for as long as its message travels.
    mutating func batchEnded(_ rows: Int, cost: Duration, roundTrip: Duration) {
        guard rows > 0 else { return }
        let sample = Sample(rows: Double(rows), cost: max(1, cost / .microseconds(1)))
        if sample.cost > (constant + perRow * sample.rows) * Self.surprise, cost > Self.aim * 2, !samples.isEmpty {
            guard isSurprised else {
                isSurprised = true
                count = max(1, min(count, rows / 4))
                return
            }
            // Rows of another kind: what was learned from those before says nothing about them.
            samples = []
        }
        isSurprised = false
        // Rows have become more expensive, by less than `surprise`: the batches before would outweigh this one.
        if isAlone, hasCompared, cost > self.limit, constant < sample.cost / 2 { samples = [] }
        samples.append(sample)
        if samples.count > Self.memory { samples.removeFirst() }
        estimate()
        let limit = limit / .microseconds(1)
        let travel = min(roundTrip / .microseconds(1), limit / 4)
        let aim = Self.aim / .microseconds(1)
        let share = max(constant, min(constant * Self.workPerConstant, aim * (records ? 4 : 2)))
        let wanted = isAlone ? limit : max(aim - constant, share, travel)
        let work = min(wanted, max(limit / 2 - constant, constant))
        let fitting = min(work / max(perRow, 0.001), 1e9)
        // One size says nothing about the two parts. Trying a second one is affordable unless a row costs very much.
        if !hasCompared, isAffordable(cost), rows >= count {
            let trial = hasFailedToGrow ? max(count * 2, min(Int(limit * 2 / sample.cost), Self.mostTried)) : count * 2
            hasFailedToGrow = true
            count = max(1, min(trial, most, cap))
            return
        }
        // One cheap batch says little about the next: at most double; quadruple where rows are the smaller cost.
        let growth = perRow * Double(count * 4) < constant ? 4 : 2
        if Int(fitting) < count || rows >= count / 2 {
            count = Int(min(fitting * (isLargerTurn ? 4 : 2) / 3, Double(count * growth)))
            isLargerTurn.toggle()
        }
        count = max(1, min(count, most, cap))
    }

    private func isAffordable(_ cost: Duration) -> Bool { cost < limit * 3 }

    /// True if a batch of one row costs so much that two rows must not be tried: a batch of no rows then shows which part of
    /// that is constant.
    var needsEmptyBatch: Bool {
        !hasCompared && samples.last.map { !isAffordable(.microseconds(Int64($0.cost))) } ?? false
    }

    /// A batch that found none of its rows has been committed.
    mutating func emptyBatchEnded(cost: Duration) {
        guard let last = samples.last else { return }
        samples = [Sample(rows: 0, cost: max(1, cost / .microseconds(1))), last]
        estimate()
    }

    /// The longest time that a batch of `count` rows may work. One that needs more has met rows of another kind, and
    /// ends before it holds its locks for long. Four times the target or more: a busy server stalls for a part of it.
    var timeLimit: Duration {
        max(limit * 4, .microseconds(Int64((constant + perRow * Double(count)) * Self.surprise)))
    }

    /// A batch of this size failed, and was not committed.
    ///
    /// - Parameter isTooLong: true if the server ended it at its time limit: half of it would take too long again.
    mutating func batchFailed(_ rows: Int, isTooLong: Bool = false) {
        count = max(1, min(count, rows / (isTooLong ? 8 : 2)))
    }

    /// The row that made batches fail has been found; `rows` is the size of the first of them. The rows behind it need
    /// not be approached one by one.
    mutating func culpritFound(in rows: Int) { count = max(count, min(rows / 2, most, cap)) }

    /// A batch of some size is refused, and its rows pass in smaller ones: a trigger guards against mass deletes.
    mutating func guardFound(largestThatPassed: Int) { cap = max(1, largestThatPassed) }

    /// True if the largest of the last batches had at least twice as many rows as the smallest.
    private var isSpread: Bool {
        let rows = samples.map(\.rows)
        guard let least = rows.min(), let greatest = rows.max() else { return false }
        return greatest >= least * 2
    }

    /// Least squares over the last batches, weighted so that relative errors count alike.
    private mutating func estimate() {
        var (weight, rows, rowsSquared, cost, product) = (0.0, 0.0, 0.0, 0.0, 0.0)
        for sample in samples {
            let w = 1 / (sample.cost * sample.cost)
            weight += w
            rows += w * sample.rows
            rowsSquared += w * sample.rows * sample.rows
            cost += w * sample.cost
            product += w * sample.rows * sample.cost
        }
        let determinant = weight * rowsSquared - rows * rows
        if isSpread, determinant > 0 {
            hasCompared = true
            perRow = max(0, (weight * product - rows * cost) / determinant)
            constant = max(0, (cost - perRow * rows) / weight)
        } else {
            perRow = max(0, (cost - constant * weight) / rows)
            // The constant part, learned from forgotten batches, may be wrong: that matters if the last is expensive.
            let isExpensive = samples.last.map { $0.cost > Self.aim * 2 / .microseconds(1) } ?? false
            if samples.count == Self.memory, isExpensive { hasCompared = false }
        }
    }
}
