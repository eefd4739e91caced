import SeededRandom

@testable import TimerWheel

/// A difference between the wheel and the model, with the seed and the operation that reproduce it.
struct Mismatch: Error, CustomStringConvertible {
    let what: String
    let seed: UInt64
    let operation: Int

    var description: String {
        "\(what), at operation \(operation); replay with MCP_CLEANUPD_TEST_SEED=\(seed)"
    }
}

/// Random operations on a wheel and on a sorted array, which must agree at every step.
///
/// A run is a row of episodes, each with a new wheel, a longest step of time (1 to 2^63 in turn), and its own mixture
/// of operations. Everything follows from the seed.
struct ModelRun: ~Copyable {
    static let operationsPerEpisode = 1_000
    /// A check of the invariants looks at every slot: too slow to do at each operation.
    static let operationsPerCheck = 200

    private let seed: UInt64
    private var random: SeededRandom
    private var operation = 0
    private var wheel = TimerWheel()
    private var model = SortedTimers()
    private var stale: [TimerWheel.Handle] = []
    private var payload: UInt64 = 0
    private var now: UInt64 = 0
    private var greatestNow: UInt64 = 0
    private var longestStepExponent: UInt64 = 0
    private var mostPending = 0

    init(seed: UInt64) {
        self.seed = seed
        random = SeededRandom(seed: seed)
    }

    mutating func run(operations: Int) throws {
        var episode: UInt64 = 0
        while operation < operations {
            startEpisode(longestStepExponent: episode % 64)
            episode += 1
            for _ in 0..<Self.operationsPerEpisode {
                operation += 1
                try performOperation()
                if operation.isMultiple(of: Self.operationsPerCheck) { try wheel.checkInvariants() }
            }
            try drain(now: .max)
            try expect(wheel.isEmpty && wheel.next == nil, "timers are left after a drain at the end of time")
            try wheel.checkInvariants()
        }
    }

    private mutating func startEpisode(longestStepExponent: UInt64) {
        self.longestStepExponent = longestStepExponent
        wheel = TimerWheel(minimumCapacity: 1)
        model = SortedTimers()
        stale = []
        greatestNow = 0
        now = Bool.random(using: &random) ? 0 : random.next() >> below(64)
        mostPending = 1 << (below(10) + 1)
    }

    private mutating func performOperation() throws {
        switch below(100) {
        case 0..<45 where model.pending.count < mostPending: try add(deadline: randomDeadline())
        case 45..<46: try addBurst()
        case 46..<60: try cancelPending()
        case 60..<65: try cancelStale()
        case 65..<75: try popOnce(now: now)
        case 75..<78: try popOnce(now: now &- min(now, randomStep()))
        case 78..<82: try drainAtNext()
        default:
            now = saturating(now, plus: randomStep())
            try drain(now: now)
        }
        try expect(wheel.count == model.pending.count, "count is \(wheel.count), not \(model.pending.count)")
        try expectNextIsNeverLate()
    }

    private mutating func add(deadline: UInt64) throws {
        payload += 1
        let handle = wheel.add(deadline: deadline, payload: payload)
        // A deadline that the cursor has passed counts as the cursor's.
        let effective = max(deadline, wheel.cursor)
        let kept = wheel.deadline(of: handle)
        try expect(kept == effective, "the wheel kept \(String(describing: kept)), not \(effective)")
        model.add(SortedTimers.Timer(deadline: effective, payload: payload, handle: handle))
    }

    /// More timers near one instant than a scan looks at, some of them equal.
    private mutating func addBurst() throws {
        guard model.pending.count < 1_000 else { return }
        let center = randomDeadline()
        let spreadExponent = below(12)
        for _ in 0..<below(300) {
            try add(deadline: saturating(center, plus: random.next() & ((1 << spreadExponent) - 1)))
        }
    }

    private mutating func cancelPending() throws {
        guard !model.pending.isEmpty else { return }
        let timer = model.remove(at: Int(below(UInt64(model.pending.count))))
        let payload = wheel.cancel(timer.handle)
        try expect(payload == timer.payload, "cancel returned \(String(describing: payload)), not \(timer.payload)")
        remember(timer.handle)
    }

    private mutating func cancelStale() throws {
        guard let handle = stale.randomElement(using: &random) else { return }
        let payload = wheel.cancel(handle)
        try expect(wheel.deadline(of: handle) == nil, "a stale handle has a deadline")
        try expect(payload == nil, "a stale handle canceled the timer with payload \(String(describing: payload))")
    }

    /// Returns whether a timer was popped.
    @discardableResult
    private mutating func popOnce(now: UInt64) throws -> Bool {
        let expected = model.pop(now: now)
        let popped = wheel.pop(now: now)
        greatestNow = max(greatestNow, now)
        try expect(
            popped?.deadline == expected?.deadline && popped?.payload == expected?.payload,
            "pop(now: \(now)) returned \(String(describing: popped)), not \(String(describing: expected))")
        try expect(wheel.cursor <= greatestNow, "the cursor is \(wheel.cursor), past the latest time, \(greatestNow)")
        guard let expected else { return false }
        remember(expected.handle)
        return true
    }

    private mutating func drain(now: UInt64) throws {
        while try popOnce(now: now) {}
        if let next = wheel.next {
            try expect(next > now, "next is \(next) although nothing is due at \(now)")
        }
    }

    /// Does as an owner does that sleeps until the announced instant.
    private mutating func drainAtNext() throws {
        guard let next = wheel.next else { return }
        now = max(now, next)
        try drain(now: now)
    }

    private func expectNextIsNeverLate() throws {
        let next = wheel.next
        guard let first = model.pending.first else {
            try expect(next == nil, "next is \(String(describing: next)) of an empty wheel")
            return
        }
        guard let next else { throw mismatch("next is nil although a timer is pending") }
        try expect(next <= first.deadline, "next is \(next), later than the deadline \(first.deadline)")
    }

    private mutating func remember(_ handle: TimerWheel.Handle) {
        if stale.count < 64 { stale.append(handle) } else { stale[Int(below(64))] = handle }
    }

    private mutating func randomDeadline() -> UInt64 {
        switch below(20) {
        case 0: return wheel.cursor
        case 1: return saturating(wheel.cursor, plus: 1)
        case 2: return wheel.cursor &- min(wheel.cursor, 1)
        case 3: return wheel.cursor &- min(wheel.cursor, randomStep())
        case 4: return UInt64.max - below(2)
        case 5: return powerOf64() &+ below(3) &- 1
        case 6, 7: return boundary() &+ below(3) &- 1
        case 8, 9: return model.pending.randomElement(using: &random)?.deadline ?? now
        case 10: return now
        default: return saturating(now, plus: randomStep())
        }
    }

    private mutating func powerOf64() -> UInt64 { 1 << (6 * below(11)) }

    /// The first multiple of a power of 64 after now; 0 after the last, so that one less is `UInt64.max`.
    private mutating func boundary() -> UInt64 {
        let shift = 6 * below(11)
        return ((now >> shift) &+ 1) << shift
    }

    /// A step from 1 to 2^`longestStepExponent`; each power of two is equally likely as its magnitude.
    private mutating func randomStep() -> UInt64 {
        let magnitude: UInt64 = 1 << below(longestStepExponent + 1)
        return magnitude - (random.next() & (magnitude - 1)) / 2
    }

    private mutating func below(_ bound: UInt64) -> UInt64 { random.next() % bound }

    private func saturating(_ instant: UInt64, plus step: UInt64) -> UInt64 {
        let (sum, overflow) = instant.addingReportingOverflow(step)
        return overflow ? .max : sum
    }

    private func expect(_ condition: Bool, _ what: @autoclosure () -> String) throws {
        if !condition { throw mismatch(what()) }
    }

    private func mismatch(_ what: String) -> Mismatch { Mismatch(what: what, seed: seed, operation: operation) }
}
