@testable import SessionCleanup
import Testing

@Suite struct PageWalkTests {
    /// Walks over a table with these numbers of due rows on its pages; returns how often each page was covered.
    private static func covered(pages: Int, due: (Int) -> Int, canBatch: Bool, rowsAtOnce: Int) -> [Int] {
        var times = Array(repeating: 0, count: pages)
        var walk = PageWalk(pages: pages, searchLimit: 1000, canBatch: canBatch)
        walk.resize(to: rowsAtOnce)
        while let step = walk.step {
            switch step {
            case .search(let range, let limit):
                let count = min(limit, range.reduce(0) { $0 + due($1) })
                if walk.found(count, after: .milliseconds(10)) { for page in range { times[page] += 1 } }
            case .batch(let range):
                walk.batchEnded(rows: range.reduce(0) { $0 + due($1) }, isCut: false)
                for page in range { times[page] += 1 }
            }
            walk.resize(to: rowsAtOnce)
        }
        return times
    }

    @Test(arguments: [true, false])
    func coversEachPageOnce(canBatch: Bool) {
        for due in [{ _ in 0 }, { _ in 20 }, { $0 % 100 == 0 ? 30 : 0 }, { $0 < 3000 ? 20 : 0 }] as [(Int) -> Int] {
            let times = Self.covered(pages: 10_000, due: due, canBatch: canBatch, rowsAtOnce: 500)
            #expect(times.allSatisfy { $0 == 1 })
        }
    }

    @Test func aBatchTakesAboutAsManyRowsAsItShould() {
        var walk = PageWalk(pages: 1000, searchLimit: 1000, canBatch: true)
        walk.resize(to: 100)
        // The first batch is one page: every row of a page may be due.
        #expect(walk.step == .batch(0..<1))
        walk.batchEnded(rows: 20, isCut: false)
        #expect(walk.step == .batch(1..<6))
    }

    @Test func whereFewRowsAreDueASearchGoesAhead() {
        var walk = PageWalk(pages: 10_000, searchLimit: 1000, canBatch: true)
        walk.resize(to: 100)
        walk.batchEnded(rows: 0, isCut: false)
        #expect(walk.step == .search(1..<2049, limit: 1001))
    }

    @Test func aSearchThatFindsTooManyIsRepeatedOverFewerPages() {
        var walk = PageWalk(pages: 10_000, searchLimit: 1000, canBatch: false)
        #expect(walk.found(1001, after: .zero) == false)
        #expect(walk.step == .search(0..<1024, limit: 1001))
    }

    @Test func aSearchThatTakesTooLongIsRepeatedOverFewerPagesDownToOne() {
        var walk = PageWalk(pages: 10_000, searchLimit: 1000, canBatch: false)
        var times = 0
        while walk.searchTimedOut() { times += 1 }
        #expect(walk.step == .search(0..<1, limit: .max) && times < 8)
    }

    @Test func aCutBatchLooksAtItsPagesAgain() {
        var walk = PageWalk(pages: 100, searchLimit: 1000, canBatch: true)
        walk.resize(to: 10)
        walk.batchEnded(rows: 50, isCut: true)
        guard case .batch(let pages) = walk.step else { return #expect(Bool(false)) }
        #expect(pages.lowerBound == 0 && pages.count < 10)
    }
}
