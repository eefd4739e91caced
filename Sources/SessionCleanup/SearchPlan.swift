/// Where a walk through the table looks next for due rows.
///
/// Mostly few rows are due, and one search by age finds them all: in that order the server reads an index and stops at a
/// number of rows, whatever it believes about how many there are. Where more are due, or where that takes longer than a
/// statement may, a walk over the table's pages sees each page once.
struct SearchPlan: Sendable {
    enum Step: Hashable, Sendable {
        /// The rows that have been due longest, so many at the most.
        case oldest(limit: Int)
        /// How many pages the table has: its largest part, if it has parts.
        case countPages
        /// Due rows on these pages, in all of the table's parts.
        case pages(Range<Int>)
    }

    /// What to do next; `nil` when the walk is at its end.
    private(set) var step: Step?
    private let limit: Int
    /// The first page that no step has covered.
    private var start = 0
    private var pageCount = 0
    private var pagesAtOnce = Self.firstPages

    /// What a search by age, which reads the table's pages out of order, finds in some hundredths of a second. It finds
    /// nothing that counts when there are more, so it must be short against a walk over a table with so many due rows.
    private static let mostByAge = 20_000
    /// 16 MB: some tenths of a second from a disk.
    private static let firstPages = 2048
    /// 512 MB: what a fast disk reads within a search's time.
    private static let mostPages = 65_536
    /// What a walk over pages aims at: long against a round trip, short against a lease.
    private static let targetDuration = Duration.milliseconds(250)

    /// - Parameter limit: rows that one search may find, or a little more.
    init(limit: Int) {
        self.limit = limit
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
        case .pages(let pages):
            if duration > Self.targetDuration * 2 || count > limit {
                pagesAtOnce = max(1, pagesAtOnce / 2)
            } else if duration < Self.targetDuration / 2, count < limit / 4 {
                pagesAtOnce = min(pagesAtOnce * 2, Self.mostPages)
            }
            start = pages.upperBound
            proceed()
            return true
        case .countPages, nil:
            return true
        }
    }

    /// The table, or its largest part, has so many pages.
    mutating func counted(pages: Int) {
        pageCount = pages
        proceed()
    }

    /// The server ended the search because it took too long.
    ///
    /// - Returns: whether a smaller one may succeed.
    mutating func timedOut() -> Bool {
        switch step {
        case .oldest:
            step = .countPages
        case .pages where pagesAtOnce > 1:
            pagesAtOnce = max(1, pagesAtOnce / 8)
            proceed()
        case .pages, .countPages, nil:
            return false
        }
        return true
    }

    private mutating func proceed() {
        step = start < pageCount ? .pages(start..<min(start + pagesAtOnce, pageCount)) : nil
    }
}
