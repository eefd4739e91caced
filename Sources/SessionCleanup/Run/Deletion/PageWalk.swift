/// Walks over the pages of a table, each page once: where many rows are due, a batch takes the next few pages as they are;
/// where few are, a search goes ahead of the batches.
struct PageWalk: Sendable {
    enum Step: Hashable, Sendable {
        /// Search these pages for due rows, at most `limit` of them.
        case search(Range<Int>, limit: Int)
        /// Delete what is due on these pages without a search.
        case batch(Range<Int>)
    }

    /// What to do next; `nil` at the end.
    private(set) var step: Step?
    private let pageCount: Int
    private let searchLimit: Int
    /// True if a batch may name a range of pages: its statement has to name one table with `ONLY`, without partitions.
    private let canBatch: Bool
    /// The first page that no step has covered.
    private var start = 0
    private var pagesAtOnce = Self.firstPages
    /// Due rows per page on the last pages; at first as many as a page can have, so that the first batch is small.
    private var density = Double(Self.mostRowsOnPage)
    private var rowsAtOnce = 1

    /// 16 MB: some tenths of a second from a disk.
    private static let firstPages = 2048
    /// 512 MB: what a fast disk reads within a search's time.
    private static let mostPages = 65_536
    /// The time that a search should take: long compared with a round trip, short compared with a lease.
    private static let targetDuration = Duration.milliseconds(250)
    /// The most rows that a page of 8 KB has room for: MaxHeapTuplesPerPage.
    static let mostRowsOnPage = 291
    /// With fewer due rows per page a batch would mostly read.
    private static let denseRows = 0.5
    /// The batch size from which on rows are cheap enough for batches of pages: it is more than a page of rows.
    static let rowsWorthPages = 64

    /// - Parameters:
    ///   - pages: the pages of the table, or of its largest part.
    ///   - searchLimit: rows that one search returns at most, unless a single page has more.
    init(pages: Int, searchLimit: Int, canBatch: Bool) {
        pageCount = pages
        self.searchLimit = searchLimit
        self.canBatch = canBatch
        proceed()
    }

    /// A search has found `count` rows.
    ///
    /// - Returns: false if there may be more: the same pages are searched again, fewer at a time.
    mutating func found(_ count: Int, after duration: Duration) -> Bool {
        guard case .search(let pages, _) = step else { return true }
        if count > searchLimit, pages.count > 1 {
            pagesAtOnce = pages.count / 2
            density = Double(count) / Double(pages.count)
            proceed()
            return false
        }
        if duration > Self.targetDuration * 2 {
            pagesAtOnce = max(1, pagesAtOnce / 2)
        } else if duration < Self.targetDuration / 2, count < searchLimit / 4 {
            pagesAtOnce = min(pagesAtOnce * 2, Self.mostPages)
        }
        passed(pages, rows: count)
        return true
    }

    /// A batch of pages has been committed.
    ///
    /// - Parameter isCut: true if it took as many rows as it was allowed to: its pages are looked at again.
    mutating func batchEnded(rows: Int, isCut: Bool) {
        guard case .batch(let pages) = step else { return }
        if isCut {
            density = max(density, Double(rows) / Double(pages.count) * 2)
            proceed()
        } else {
            passed(pages, rows: rows)
        }
    }

    /// Sets how many rows the next batch should take.
    mutating func resize(to rows: Int) {
        rowsAtOnce = rows
        proceed()
    }

    /// Passes over the pages of the current step without deleting there: a later search finds their rows.
    mutating func skip() {
        switch step {
        case .search(let pages, _), .batch(let pages): passed(pages, rows: pages.count)
        case nil: break
        }
    }

    /// The server ended a search because it took too long.
    ///
    /// - Returns: true if a smaller one may succeed.
    mutating func searchTimedOut() -> Bool {
        guard pagesAtOnce > 1 else { return false }
        pagesAtOnce = max(1, pagesAtOnce / 8)
        proceed()
        return true
    }

    private mutating func passed(_ pages: Range<Int>, rows: Int) {
        start = pages.upperBound
        density = Double(rows) / Double(pages.count)
        proceed()
    }

    private mutating func proceed() {
        if start >= pageCount {
            step = nil
        } else if canBatch, density >= Self.denseRows {
            let pages = max(1, Int(Double(rowsAtOnce) / density))
            step = .batch(start..<min(start + pages, pageCount))
        } else {
            let pages = start..<min(start + pagesAtOnce, pageCount)
            step = .search(pages, limit: pages.count > 1 ? searchLimit + 1 : .max)
        }
    }
}
