/// Where a walk through the table looks next for due rows.
///
/// Mostly few rows are due, and one search by age finds them all: in that order the server reads an index and stops at a
/// number of rows, whatever it believes about how many there are. Where more are due, or where that takes longer than a
/// statement may, a walk over the table's pages sees each page once: where many rows are due, a batch takes the next few
/// pages as they are; where few are, a search goes ahead of the batches.
struct SearchPlan: Sendable {
    enum Step: Hashable, Sendable {
        /// The rows that have been due longest, so many at the most.
        case oldest(limit: Int)
        /// How many pages the table has: its largest part, if it has parts.
        case countPages
        /// Due rows on these pages, in all of the table's parts, so many at the most.
        case pages(Range<Int>, limit: Int)
        /// Due rows on these pages, to be deleted without a search.
        case batch(Range<Int>)
    }

    /// What to do next; `nil` when the walk is at its end.
    private(set) var step: Step?
    private let limit: Int
    /// The first page that no step has covered.
    private var start = 0
    private var pageCount = 0
    private var pagesAtOnce = Self.firstPages
    /// How many pages a batch takes; `nil` for a table with parts, whose pages are not numbered through.
    private var batch: BatchSize?
    /// Whether about here enough rows are due that a batch of its own for the next few pages is worth it.
    private var isDense = true

    /// What a search by age, which reads the table's pages out of order, finds in some hundredths of a second. It finds
    /// nothing that counts when there are more, so it must be short against a walk over a table with so many due rows.
    private static let mostByAge = 20_000
    /// 16 MB: some tenths of a second from a disk.
    private static let firstPages = 2048
    /// 512 MB: what a fast disk reads within a search's time.
    private static let mostPages = 65_536
    /// What a walk over pages aims at: long against a round trip, short against a lease.
    private static let targetDuration = Duration.milliseconds(250)

    /// Below one due row in so many pages a batch would mostly read.
    private static let densePages = 2
    /// Some dozens of rows of the usual size.
    private static let firstBatch = 8

    /// - Parameters:
    ///   - limit: rows that one search may find; only those on a single page are never too many.
    ///   - batchTarget: the target of a batch's duration if batches can do without a search: in a table without parts.
    init(limit: Int, batchTarget: Duration? = nil) {
        self.limit = limit
        batch = batchTarget.map { BatchSize(target: $0, first: Self.firstBatch, most: Self.mostPages) }
        step = .oldest(limit: min(limit, Self.mostByAge))
    }

    /// Whether the table is read page by page from the start: for counting it.
    init(countingPagesOf limit: Int) {
        self.init(limit: limit)
        step = .countPages
    }

    /// A search found so many rows.
    ///
    /// - Returns: whether they count; rows that will be found again do not.
    mutating func found(_ count: Int, after duration: Duration) -> Bool {
        switch step {
        case .oldest(let most):
            step = count < most ? nil : .countPages
            return step == nil
        case .pages(let pages, _) where count > limit && pages.count > 1:
            // There may be more: fewer pages, or a batch of those that it stopped on.
            pagesAtOnce = pages.count / 2
            isDense = true
            proceed()
            return false
        case .pages(let pages, _):
            if duration > Self.targetDuration * 2 {
                pagesAtOnce = max(1, pagesAtOnce / 2)
            } else if duration < Self.targetDuration / 2, count < limit / 4 {
                pagesAtOnce = min(pagesAtOnce * 2, Self.mostPages)
            }
            start = pages.upperBound
            isDense = count * Self.densePages >= pages.count
            proceed()
            return true
        case .countPages, .batch, nil:
            return true
        }
    }

    /// A batch of pages has ended.
    ///
    /// - Parameters:
    ///   - due: rows that were due on its pages.
    ///   - limit: rows that it might take.
    ///   - isCut: whether it took those, so that its pages have to be looked at again.
    ///   - work: how long the server worked on it; `roundTrip`: the way there and back.
    mutating func batchEnded(due: Int, limit: Int, isCut: Bool, after work: Duration, roundTrip: Duration) {
        guard case .batch(let pages) = step else { return }
        batch?.batchEnded(pages.count, after: work, roundTrip: roundTrip)
        if isCut {
            batch?.shrink(to: pages.count * limit / max(due, 1))
        } else {
            start = pages.upperBound
            isDense = due * Self.densePages >= pages.count
        }
        proceed()
    }

    /// Nothing more may be deleted: whether more is due, a search tells.
    mutating func stopDeleting() {
        batch = nil
        proceed()
    }

    /// The table, or its largest part, has so many pages.
    mutating func counted(pages: Int) {
        pageCount = pages
        proceed()
    }

    /// The server ended the step because it took too long.
    ///
    /// - Returns: whether a smaller one may succeed.
    mutating func timedOut() -> Bool {
        switch step {
        case .oldest:
            step = .countPages
        case .pages where pagesAtOnce > 1:
            pagesAtOnce = max(1, pagesAtOnce / 8)
            proceed()
        case .batch:
            guard batch?.batchTimedOut() == true else { return false }
            proceed()
        case .pages, .countPages, nil:
            return false
        }
        return true
    }

    private mutating func proceed() {
        if start >= pageCount {
            step = nil
        } else if isDense, let batch {
            step = .batch(start..<min(start + batch.count, pageCount))
        } else {
            let pages = start..<min(start + pagesAtOnce, pageCount)
            step = .pages(pages, limit: pages.count > 1 ? limit + 1 : .max)
        }
    }
}
