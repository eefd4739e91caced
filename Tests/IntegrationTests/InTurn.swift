import Testing

/// Lets only a few tests of a suite's kind run at a time: all of them at once would need more connections than the
/// shared server has, and more time each than their limits allow.
struct InTurn: SuiteTrait, TestTrait, TestScoping {
    let isRecursive = true

    /// A few per core of a small machine; each test uses up to ten of the server's 1,000 connections.
    private static let turns = Turns(8)

    func scopeProvider(for test: Test, testCase: Test.Case?) -> InTurn? { testCase == nil ? nil : self }

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        await Self.turns.take()
        do {
            try await function()
        } catch {
            await Self.turns.giveBack()
            throw error
        }
        await Self.turns.giveBack()
    }
}

extension Trait where Self == InTurn {
    /// At most eight tests run at a time, over all suites that have this trait.
    static var inTurn: Self { Self() }
}

/// A counting semaphore: first come, first served.
private actor Turns {
    private var free: Int
    private var waiting: [CheckedContinuation<Void, Never>] = []

    init(_ count: Int) { free = count }

    func take() async {
        if free > 0 {
            free -= 1
        } else {
            await withCheckedContinuation { waiting.append($0) }
        }
    }

    func giveBack() {
        if waiting.isEmpty { free += 1 } else { waiting.removeFirst().resume() }
    }
}
