import Dispatch
import Synchronization
import Time

/// Runs C calls that may block without a limit on threads of their own, and waits for them up to a limit:
/// `getaddrinfo(3)` and libpq 15's `PQcancel`, which have no non-blocking form.
final class BlockingCalls: Sendable {
    static let nameResolutions = BlockingCalls(most: 16)
    static let cancelRequests = BlockingCalls(most: 16)

    private let most: Int
    private let running = Atomic(0)

    /// - Parameter most: the most calls at a time, abandoned ones included, which the kernel and the resolver end
    ///   within minutes. 16 is more than all connections of the process need at once.
    init(most: Int) { self.most = most }

    /// Returns what `body` returned, or `nil` when it had not returned after `limit`, when the task was canceled first,
    /// or when `most` calls are already under way. An abandoned call is not interrupted; its result is dropped.
    func run<Value: Sendable>(
        limit: Duration, heedsCancellation: Bool = true, _ body: @escaping @Sendable () -> Value
    ) async -> Value? {
        guard running.add(1, ordering: .relaxed).newValue <= most else {
            running.subtract(1, ordering: .relaxed)
            return nil
        }
        let answer = FirstAnswer<Value?>()
        // Dispatch gives each serial queue a thread of its own, up to 255. The threads of a concurrent queue are those
        // of Swift's cooperative pool, one per core: a few silent name servers would stop the whole process.
        DispatchQueue(label: "mcp-cleanupd.postgres.blocking").async {
            let value = body()
            self.running.subtract(1, ordering: .relaxed)
            answer.give(value)
        }
        return await answer.value(
            until: .now + limit, heedsCancellation: heedsCancellation, orLate: nil, orCanceled: nil)
    }
}

/// A value that several threads may give and one task waits for. The first value counts.
package final class FirstAnswer<Value: Sendable>: Sendable {
    private struct State {
        var value: Value?
        var waiting: CheckedContinuation<Value, Never>?
    }

    private let state = Mutex(State())

    package init() {}

    var isGiven: Bool { state.withLock { $0.value != nil } }

    package func give(_ value: Value) {
        let waiting: CheckedContinuation<Value, Never>? = state.withLock { state in
            guard state.value == nil else { return nil }
            state.value = value
            return state.waiting
        }
        waiting?.resume(returning: value)
    }

    /// Waits for the first value. Only one task may wait.
    package var value: Value {
        get async {
            await withCheckedContinuation { continuation in
                let given = state.withLock { state in
                    if state.value == nil { state.waiting = continuation }
                    return state.value
                }
                if let given { continuation.resume(returning: given) }
            }
        }
    }

    /// Waits for the first value, and gives one itself when the deadline passes or the task is canceled.
    package func value(
        until deadline: ContinuousClock.Instant, heedsCancellation: Bool = true, orLate late: Value,
        orCanceled canceled: Value
    ) async -> Value {
        let limit = Deadlines.shared.add(at: deadline) { self.give(late) }
        defer { Deadlines.shared.cancel(limit) }
        guard heedsCancellation else { return await value }
        return await withTaskCancellationHandler {
            await value
        } onCancel: {
            give(canceled)
        }
    }
}
