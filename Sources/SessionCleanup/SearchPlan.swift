/// Where a walk through the table looks next for due rows.
///
/// A search in the order of addresses lets the server use an index, and ends at a number of rows; each further one finds
/// its way again. Where due rows lie dense, a walk over the table's pages sees each page once; and it is what is left
/// where a search takes longer than a statement may.
struct SearchPlan: Sendable {
    enum Step: Hashable, Sendable {
        /// Due rows behind an address, so many at the most.
        case ordered(after: Position?, limit: Int)
        /// How many pages the table has: its largest part, if it has parts.
        case countPages
        /// Due rows from one address up to but without a page, in all of the table's parts.
        case pages(from: RowAddress, to: Int)
    }

    struct Position: Hashable, Sendable {
        let partition: UInt32
        let address: RowAddress
    }

    /// What to do next; `nil` when the walk is at its end.
    private(set) var step: Step?
    private let limit: Int
    private let hasChildren: Bool
    /// Where the pages are to begin.
    private var start = RowAddress(page: 0, line: 0)
    private var pageCount = 0
    private var pagesAtOnce = Self.firstPages

    /// 16 MB: some tenths of a second from a disk.
    private static let firstPages = 2048
    /// 512 MB: what a fast disk reads within a search's time.
    private static let mostPages = 65_536
    /// What a walk over pages aims at: long against a round trip, short against a lease.
    private static let targetDuration = Duration.milliseconds(250)

    /// - Parameter limit: rows that one search may find, or a little more.
    init(limit: Int, hasChildren: Bool) {
        self.limit = limit
        self.hasChildren = hasChildren
        step = .ordered(after: nil, limit: limit)
    }

    /// Whether the table is read page by page from the start: for counting it.
    init(countingPagesOf limit: Int) {
        self.init(limit: limit, hasChildren: false)
        step = .countPages
    }

    /// A search found so many rows, the last of them here.
    mutating func found(_ count: Int, last: Position?, after duration: Duration) {
        switch step {
        case .ordered:
            guard count >= limit, let last else {
                step = nil
                return
            }
            let isDense = !hasChildren && count >= last.address.page - start.page
            if isDense {
                start = last.address.next
                step = .countPages
            } else {
                start = last.address
                step = .ordered(after: last, limit: limit)
            }
        case .pages(_, let end):
            if duration > Self.targetDuration * 2 || count > limit {
                pagesAtOnce = max(1, pagesAtOnce / 2)
            } else if duration < Self.targetDuration / 2, count < limit / 4 {
                pagesAtOnce = min(pagesAtOnce * 2, Self.mostPages)
            }
            start = RowAddress(page: end, line: 0)
            proceed()
        case .countPages, nil: break
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
        case .ordered:
            if hasChildren { start = RowAddress(page: 0, line: 0) }
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
        step = start.page < pageCount ? .pages(from: start, to: min(start.page + pagesAtOnce, pageCount)) : nil
    }
}
