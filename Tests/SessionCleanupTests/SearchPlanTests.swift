@testable import SessionCleanup
import Testing

@Suite struct SearchPlanTests {
    /// Takes a plan that has left the search by age through a table, and returns the steps' pages.
    private static func pages(
        of plan: inout SearchPlan, tablePages: Int, count: Int = 0, after duration: Duration = .zero
    ) -> [Range<Int>] {
        var walked: [Range<Int>] = []
        plan.counted(pages: tablePages)
        while case .pages(let pages) = plan.step {
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

    @Test(arguments: [Duration.zero, .milliseconds(200), .seconds(2)], [0, 1000])
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
            guard case .pages(let pages) = plan.step else { break }
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
}
