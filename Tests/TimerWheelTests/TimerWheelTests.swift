import BasicContainers
import SeededRandom
import Testing

@testable import TimerWheel

struct TimerWheelTests {
    @Test func takes32BytesForATimer() {
        #expect(MemoryLayout<TimerNode>.stride == 32)
    }

    @Test func popsTimersOfOneDeadlineInTheOrderTheyWereAdded() {
        var wheel = TimerWheel()
        for payload in 0..<300 as Range<UInt64> {
            _ = wheel.add(deadline: 5_000, payload: payload)
            _ = wheel.add(deadline: 4_000 + payload, payload: 1_000 + payload)
        }
        // Opens the slot level by level; the timers added later must still come last.
        #expect(wheel.pop(now: 4_000)?.payload == 1_000)
        for payload in 300..<600 as Range<UInt64> { _ = wheel.add(deadline: 5_000, payload: payload) }

        let payloads = drain(&wheel, now: 5_000)
        #expect(payloads == Array(1_001..<1_300) + Array(0..<600))
    }

    @Test(arguments: [0, 1, 63, 64, 65, 4_095, 4_096, 1 << 32, UInt64.max - 1, UInt64.max])
    func popsATimerAtItsDeadlineAndNotBefore(deadline: UInt64) {
        var wheel = TimerWheel()
        _ = wheel.add(deadline: deadline, payload: 7)
        if deadline > 0 { #expect(wheel.pop(now: deadline - 1) == nil) }
        #expect(wheel.next == deadline)

        let timer = wheel.pop(now: deadline)
        #expect(timer?.deadline == deadline)
        #expect(timer?.payload == 7)
        #expect(wheel.pop(now: .max) == nil)
    }

    @Test func popsNothingFromAnEmptyWheel() {
        var wheel = TimerWheel()
        #expect(wheel.pop(now: .max) == nil)
        #expect(wheel.next == nil)
        #expect(wheel.isEmpty == true)
    }

    @Test func doesNotPopEarlyWhenNowRunsBackward() {
        var wheel = TimerWheel()
        _ = wheel.add(deadline: 100, payload: 1)
        _ = wheel.add(deadline: 101, payload: 2)
        #expect(wheel.pop(now: 1_000)?.payload == 1)
        // The cursor is at 100: an earlier deadline counts as 100.
        _ = wheel.add(deadline: 90, payload: 3)

        #expect(wheel.pop(now: 99) == nil)
        #expect(wheel.pop(now: 100)?.payload == 3)
        #expect(wheel.pop(now: 100) == nil)
        #expect(wheel.pop(now: 101)?.payload == 2)
    }

    @Test func popsATimerWhoseDeadlineHasPassedAtOnceAndBehindThoseOfThatInstant() throws {
        var wheel = TimerWheel()
        for payload in 0..<3 as Range<UInt64> { _ = wheel.add(deadline: 1_000, payload: payload) }
        _ = wheel.add(deadline: 1_001, payload: 4)
        #expect(wheel.pop(now: 1_000)?.payload == 0)
        let late = wheel.add(deadline: 5, payload: 10)
        _ = wheel.add(deadline: 999, payload: 11)
        _ = wheel.add(deadline: 1_000, payload: 12)
        try wheel.checkInvariants()

        #expect(wheel.next == 1_000)
        #expect(wheel.deadline(of: late) == 1_000)
        #expect(drain(&wheel, now: 1_001) == [1, 2, 10, 11, 12, 4])
    }

    @Test func knowsTheDeadlineOfATimerUntilItIsPoppedOrCanceled() {
        var wheel = TimerWheel()
        let popped = wheel.add(deadline: 70, payload: 1)
        let canceled = wheel.add(deadline: 80, payload: 2)
        #expect(wheel.deadline(of: popped) == 70)
        _ = wheel.pop(now: 70)
        #expect(wheel.deadline(of: popped) == nil)
        #expect(wheel.deadline(of: canceled) == 80)
        _ = wheel.cancel(canceled)
        #expect(wheel.deadline(of: canceled) == nil)
    }

    @Test func placesTimersAddedBetweenPopsAmongThosePending() {
        var wheel = TimerWheel()
        for deadline in [10, 20, 30] as [UInt64] { _ = wheel.add(deadline: deadline, payload: deadline) }
        #expect(wheel.pop(now: 30)?.payload == 10)
        _ = wheel.add(deadline: 15, payload: 15)
        #expect(wheel.pop(now: 30)?.payload == 15)
        #expect(drain(&wheel, now: 30) == [20, 30])
    }

    @Test func refusesTheHandleOfACanceledTimer() {
        var wheel = TimerWheel()
        let handle = wheel.add(deadline: 1, payload: 7)
        #expect(wheel.cancel(handle) == 7)
        #expect(wheel.cancel(handle) == nil)
        #expect(wheel.pop(now: .max) == nil)
    }

    /// If a generation came twice, a handle that was kept for two thousand million timers would name another timer.
    @Test func givesUpAnEntryThatHasHadAllItsGenerations() throws {
        var wheel = TimerWheel(minimumCapacity: 1)
        let first = wheel.add(deadline: 1, payload: 1)
        let node = Int(first.node)
        wheel.slab[node].generation = .max
        try wheel.checkInvariants()
        let last = TimerWheel.Handle(node: first.node, generation: .max)
        #expect(wheel.cancel(last) == 1)
        try wheel.checkInvariants()
        let other = wheel.add(deadline: 2, payload: 2)
        #expect(other.node != first.node)
        #expect(wheel.cancel(last) == nil && wheel.cancel(first) == nil)
        #expect(wheel.pop(now: 2)?.payload == 2)
        #expect(wheel.add(deadline: 3, payload: 3).node == other.node)
        try wheel.checkInvariants()
    }

    @Test func refusesTheHandleOfAPoppedTimer() {
        var wheel = TimerWheel()
        let handle = wheel.add(deadline: 1, payload: 7)
        #expect(wheel.pop(now: 1)?.payload == 7)
        #expect(wheel.cancel(handle) == nil)
    }

    @Test func refusesAStaleHandleWhoseMemoryANewTimerHas() {
        var wheel = TimerWheel(minimumCapacity: 1)
        var stale: [TimerWheel.Handle] = []
        for payload in 0..<100 as Range<UInt64> {
            let handle = wheel.add(deadline: payload, payload: payload)
            for old in stale { #expect(wheel.cancel(old) == nil) }
            #expect(wheel.cancel(handle) == payload)
            stale.append(handle)
        }
    }

    @Test func refusesAHandleBeyondItsMemory() {
        var large = TimerWheel()
        var handle = large.add(deadline: 1, payload: 0)
        for _ in 0..<1_000 { handle = large.add(deadline: 1, payload: 0) }
        var small = TimerWheel()
        #expect(small.cancel(handle) == nil)
    }

    @Test func announcesTheExactDeadlineOfASlotThatOneScanCovers() {
        var wheel = TimerWheel()
        for offset in 0..<TimerWheel.scanLimit { _ = wheel.add(deadline: UInt64(8_000 - offset), payload: 0) }
        #expect(wheel.next == UInt64(8_000 - TimerWheel.scanLimit + 1))
    }

    @Test func announcesTheStartOfASlotThatOneScanDoesNotCover() {
        var wheel = TimerWheel()
        for offset in 0...TimerWheel.scanLimit { _ = wheel.add(deadline: UInt64(8_000 - offset), payload: 0) }
        #expect(wheel.next == 4_096)
        #expect(wheel.pop(now: 4_096) == nil)
        #expect(wheel.next == UInt64(8_000 - TimerWheel.scanLimit))
    }

    @Test func doesNotAnnounceTheSameStartTwiceAtTheEndOfTime() {
        var wheel = TimerWheel()
        #expect(wheel.pop(now: 5) == nil)
        for _ in 0...TimerWheel.scanLimit { _ = wheel.add(deadline: .max, payload: 0) }
        let start = 15 << 60 as UInt64
        #expect(wheel.next == start)
        #expect(wheel.pop(now: start) == nil)
        #expect(wheel.next ?? 0 > start)
    }

    @Test func announcesTheNextDeadlineAfterTheFirstIsCanceled() {
        var wheel = TimerWheel()
        let first = wheel.add(deadline: 100, payload: 0)
        _ = wheel.add(deadline: 100_000, payload: 1)
        #expect(wheel.next == 100)
        #expect(wheel.cancel(first) == 0)
        #expect(wheel.next == 100_000)
    }

    @Test func wakesItsOwnerOnceForEachTimer() {
        var random = SeededRandom(seed: 0x5EED)
        var wheel = TimerWheel()
        for payload in 0..<1_000 as Range<UInt64> {
            _ = wheel.add(deadline: random.next() % 3_600_000, payload: payload)
        }
        var wakeUps = 0
        while let now = wheel.next {
            wakeUps += 1
            _ = drain(&wheel, now: now)
        }
        #expect(wheel.isEmpty == true)
        #expect(Double(wakeUps) / 1_000 <= 1.01)
    }

    @Test func growsAndKeepsItsTimers() throws {
        var wheel = TimerWheel(minimumCapacity: 1)
        for payload in 0..<1_000 as Range<UInt64> { _ = wheel.add(deadline: payload, payload: payload) }
        try wheel.checkInvariants()
        #expect(drain(&wheel, now: .max) == Array(0..<1_000))
        let capacity = wheel.slab.capacity
        for payload in 0..<1_000 as Range<UInt64> { _ = wheel.add(deadline: payload, payload: payload) }
        // Popped timers have given their entries back.
        #expect(wheel.slab.capacity == capacity)
        try wheel.checkInvariants()
    }

    private func drain(_ wheel: inout TimerWheel, now: UInt64) -> [UInt64] {
        var payloads: [UInt64] = []
        while let timer = wheel.pop(now: now) { payloads.append(timer.payload) }
        return payloads
    }
}
