@testable import SessionCleanup
import Testing

@Suite struct SearchPlanTests {
    /// Takes a plan that has left the search by age through a table, and returns the steps' pages.
    private static func pages(
        of plan: inout SearchPlan, tablePages: Int, count: Int = 0, after duration: Duration = .zero
    ) -> [Range<Int>] {
        var walked: [Range<Int>] = []
        plan.counted(pages: tablePages)
        while case .pages(let pages, _) = plan.step {
            walked.append(pages)
            let counts = plan.found(count, after: duration)
            #expect(counts)
        }
        return walked
    }

    @Test func aSearchByAgeThatFindsFewerThanItMayIsAllThereIs() {
        var plan = SearchPlan(limit: 50)
        #expect(plan.step == .oldest(limit: 50))
        let counts = plan.found(49, after: .zero)
        #expect(counts)
        #expect(plan.step == nil)
    }

    @Test func rowsThatWillBeFoundAgainDoNotCount() {
        var plan = SearchPlan(limit: 50)
        let counts = plan.found(50, after: .zero)
        #expect(!counts)
        #expect(plan.step == .countPages)
    }

    @Test func aSearchByAgeTakesAtMostTwentyThousandRows() {
        #expect(SearchPlan(limit: 1_000_000).step == .oldest(limit: 20_000))
    }

    @Test(arguments: [Duration.zero, .milliseconds(200), .seconds(2)], [0, 50])
    func theWalkSeesEachPageOnce(duration: Duration, count: Int) {
        var plan = SearchPlan(limit: 50)
        let counts = plan.found(50, after: .zero)
        #expect(!counts)
        let walked = Self.pages(of: &plan, tablePages: 1_000_003, count: count, after: duration)
        #expect(walked.first?.lowerBound == 0)
        #expect(zip(walked, walked.dropFirst()).allSatisfy { $0.upperBound == $1.lowerBound })
        #expect(walked.last?.upperBound == 1_000_003)
        #expect(plan.step == nil)
    }

    @Test func fastSearchesGrowAndSlowOnesShrink() {
        for (duration, grows) in [(Duration.zero, true), (.seconds(2), false)] {
            var plan = SearchPlan(countingPagesOf: 50)
            let walked = Self.pages(of: &plan, tablePages: 200_000, after: duration)
            #expect((walked[1].count > walked[0].count) == grows)
            #expect((walked[1].count < walked[0].count) != grows)
        }
    }

    @Test func pagesWithMoreThanASearchMayFindAreLookedAtAgainFewerAtATime() {
        var plan = SearchPlan(limit: 50)
        _ = plan.found(50, after: .zero)
        plan.counted(pages: 8)
        for pages in [8, 4, 2] {
            #expect(plan.step == .pages(0..<pages, limit: 51))
            let counts = plan.found(51, after: .zero)
            #expect(!counts)
        }
        // A page is never looked at twice: it is not cut.
        #expect(plan.step == .pages(0..<1, limit: .max))
        let counts = plan.found(60, after: .zero)
        #expect(counts)
        #expect(plan.step == .pages(1..<2, limit: .max))
    }

    @Test func aSearchByAgeThatTakesTooLongBecomesAWalk() {
        var plan = SearchPlan(limit: 50)
        let mayGoOn = plan.timedOut()
        #expect(mayGoOn)
        #expect(plan.step == .countPages)
        #expect(Self.pages(of: &plan, tablePages: 10) == [0..<10])
    }

    @Test func pagesThatTakeTooLongAreTriedFewerAtATimeAndInTheEndGivenUp() {
        var plan = SearchPlan(countingPagesOf: 50)
        plan.counted(pages: 100_000)
        var sizes: [Int] = []
        repeat {
            guard case .pages(let pages, _) = plan.step else { break }
            #expect(pages.lowerBound == 0)
            sizes.append(pages.count)
        } while plan.timedOut()
        #expect(sizes == [2048, 256, 32, 4, 1])
    }

    @Test func anEmptyTableHasNoStep() {
        var plan = SearchPlan(countingPagesOf: 50)
        #expect(Self.pages(of: &plan, tablePages: 0).isEmpty)
        #expect(plan.step == nil)
    }

    // MARK: Batches without a search

    private static func batches(tablePages: Int) -> SearchPlan {
        var plan = SearchPlan(limit: 2000, batchTarget: .milliseconds(50))
        _ = plan.found(2000, after: .zero)
        plan.counted(pages: tablePages)
        return plan
    }

    @Test func whereManyRowsAreDueBatchesTakeThePagesAsTheyAre() {
        var plan = Self.batches(tablePages: 1003)
        var end = 0
        while case .batch(let pages) = plan.step {
            #expect(pages.lowerBound == end)
            end = pages.upperBound
            plan.batchEnded(
                due: pages.count, limit: 10_000, isCut: false, after: .microseconds(20 * pages.count), roundTrip: .zero)
        }
        #expect(end == 1003)
        #expect(plan.step == nil)
    }

    @Test func whereFewAreDueASearchGoesAhead() {
        var plan = Self.batches(tablePages: 100_000)
        #expect(plan.step == .batch(0..<8))
        plan.batchEnded(due: 3, limit: 10_000, isCut: false, after: .zero, roundTrip: .zero)
        #expect(plan.step == .pages(8..<2056, limit: 2001))
        _ = plan.found(1023, after: .milliseconds(200))
        #expect(plan.step == .pages(2056..<4104, limit: 2001))
        _ = plan.found(1024, after: .milliseconds(200))
        guard case .batch(let pages) = plan.step else {
            Issue.record("\(String(describing: plan.step))")
            return
        }
        #expect(pages.lowerBound == 4104)
    }

    @Test func whereASearchFindsTooManyBatchesGoOn() {
        var plan = Self.batches(tablePages: 100_000)
        plan.batchEnded(due: 0, limit: 10_000, isCut: false, after: .zero, roundTrip: .zero)
        #expect(plan.step == .pages(8..<2056, limit: 2001))
        let counts = plan.found(2001, after: .zero)
        #expect(!counts)
        guard case .batch(let pages) = plan.step else {
            Issue.record("\(String(describing: plan.step))")
            return
        }
        #expect(pages.lowerBound == 8)
    }

    @Test func pagesWithMoreThanABatchTakesAreLookedAtAgain() {
        var plan = Self.batches(tablePages: 100)
        plan.batchEnded(due: 80, limit: 20, isCut: true, after: .zero, roundTrip: .zero)
        #expect(plan.step == .batch(0..<2))
        plan.batchEnded(due: 20, limit: 20, isCut: false, after: .zero, roundTrip: .zero)
        #expect(plan.step == .batch(2..<6))
    }

    @Test func batchesThatTakeTooLongShrinkAndInTheEndAreGivenUp() {
        var plan = Self.batches(tablePages: 100)
        let first = plan.timedOut()
        #expect(first)
        #expect(plan.step == .batch(0..<1))
        let second = plan.timedOut()
        #expect(!second)
    }

    @Test func whenNothingMoreMayGoASearchTellsWhetherMoreIsDue() {
        var plan = Self.batches(tablePages: 100)
        plan.stopDeleting()
        #expect(plan.step == .pages(0..<100, limit: 2001))
        _ = plan.found(1000, after: .zero)
        #expect(plan.step == nil)
    }
}
