import Synchronization
import Testing
import Time

@Suite(.timeLimit(.minutes(1))) struct DeadlinesTests {
    @Test func comeInTheirOrderOnceAndNeverEarly() async {
        let deadlines = Deadlines()
        // Late enough that all have been added before the first is due, also on a busy machine.
        let start = ContinuousClock.now + .seconds(2)
        let (calls, sender) = AsyncStream<(milliseconds: Int, isEarly: Bool)>.makeStream()
        for number in 0..<200 {
            let milliseconds = number * 73 % 200
            let instant = start + .milliseconds(milliseconds)
            _ = deadlines.add(at: instant) { sender.yield((milliseconds, ContinuousClock.now < instant)) }
        }
        _ = deadlines.add(at: start + .milliseconds(300)) { sender.finish() }
        var seen: [Int] = []
        for await call in calls {
            #expect(!call.isEarly)
            seen.append(call.milliseconds)
        }
        #expect(seen == Array(0..<200))
    }

    @Test func anEarlierOneDoesNotWaitForALaterOne() async {
        let deadlines = Deadlines()
        _ = deadlines.add(at: .now + .seconds(3600)) { Issue.record("an hour has not passed") }
        let start = ContinuousClock.now
        await withCheckedContinuation { continuation in
            _ = deadlines.add(at: start + .milliseconds(50)) { continuation.resume() }
        }
        #expect(start.duration(to: .now) < .seconds(10))
    }

    @Test func whatIsCanceledDoesNotComeAndWhatFollowsDoes() async {
        let deadlines = Deadlines()
        let start = ContinuousClock.now
        let canceled = deadlines.add(at: start + .seconds(1)) { Issue.record("it was canceled") }
        deadlines.cancel(canceled)
        // No timer is pending now: adding one has to set the kernel's timer again.
        await withCheckedContinuation { continuation in
            _ = deadlines.add(at: start + .milliseconds(1100)) { continuation.resume() }
        }
        deadlines.cancel(canceled)
    }

    @Test func anInstantThatHasPassedComesAtOnceAndOneThatNeverComesHarmsNobody() async {
        let deadlines = Deadlines()
        let never = deadlines.add(at: .now + .seconds(Int64.max / 4)) { Issue.record("the end of time") }
        await withCheckedContinuation { continuation in
            _ = deadlines.add(at: .now - .seconds(3600)) { continuation.resume() }
        }
        deadlines.cancel(never)
    }

    @Test func aHandlerMayAddAndCancel() async {
        let deadlines = Deadlines()
        await withCheckedContinuation { continuation in
            let other = deadlines.add(at: .now + .seconds(1)) { Issue.record("it was canceled") }
            _ = deadlines.add(at: .now) {
                deadlines.cancel(other)
                _ = deadlines.add(at: .now + .milliseconds(1200)) { continuation.resume() }
            }
        }
    }

    /// With many threads at once, each deadline fires or is canceled, and none does both or either twice.
    @Test func manyAreAddedAndCanceledAtOnce() async {
        let deadlines = Deadlines()
        let calls = Calls()
        await withTaskGroup { group in
            for worker in 0..<4 {
                group.addTask {
                    for number in 0..<500 {
                        let name = worker * 500 + number
                        let handle = deadlines.add(at: .now + .microseconds(number % 7 * 300)) {
                            calls.counts.withLock { $0[name, default: 0] += 1 }
                        }
                        if number % 3 == 0 { deadlines.cancel(handle) }
                        if number % 50 == 0 { await Task.yield() }
                    }
                }
            }
        }
        await withCheckedContinuation { continuation in
            _ = deadlines.add(at: .now + .milliseconds(10)) { continuation.resume() }
        }
        let counts = calls.counts.withLock(\.self)
        #expect(counts.values.allSatisfy { $0 == 1 })
        #expect((0..<2000).allSatisfy { $0 % 500 % 3 == 0 || counts[$0] == 1 })
    }

    private final class Calls: Sendable {
        let counts = Mutex<[Int: Int]>([:])
    }
}
