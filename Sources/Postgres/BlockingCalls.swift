import Dispatch
import Synchronization
import Time

/// Runs C calls that may block without a limit on threads of their own, and waits for them up to a limit.
///
/// Used for the two calls of the platform that have no non-blocking form: `getaddrinfo(3)` and libpq 15's `PQcancel`.
final class BlockingCalls: Sendable {
    static let nameResolutions = BlockingCalls(most: 16)
    static let cancelRequests = BlockingCalls(most: 16)

    private let most: Int
    private let running = Mutex(0)

    /// - Parameter most: how many there may be at a time, abandoned ones included. 16 is above what all connections of the
    ///   process need at once; the kernel and the resolver end a call within minutes.
    init(most: Int) { self.most = most }

    /// Returns what `body` returned, or `nil` when it had not returned after `limit`, when the task was canceled first, or
    /// when as many earlier calls as there may be have not returned yet.
    ///
    /// The call is not interrupted: it ends by the resolver's or the kernel's own timeouts, and its result is dropped.
    func run<Value: Sendable>(
        limit: Duration, heedsCancellation: Bool = true, _ body: @escaping @Sendable () -> Value
    ) async -> Value? {
        guard begin() else { return nil }
        let answer = FirstAnswer<Value?>()
        let limit = Deadlines.shared.add(at: .now + limit) { answer.give(nil) }
        defer { Deadlines.shared.cancel(limit) }
        // A serial queue for each call: Dispatch gives each of those a thread, up to 255. A concurrent queue would take
        // its threads from the ones that Swift's cooperative pool runs on, one per core, and a few silent name servers
        // would stop the whole process.
        DispatchQueue(label: "mcp-cleanupd.postgres.blocking").async {
            let value = body()
            self.running.withLock { $0 -= 1 }
            answer.give(value)
        }
        guard heedsCancellation else { return await answer.value }
        return await withTaskCancellationHandler {
            await answer.value
        } onCancel: {
            answer.give(nil)
        }
    }

    private func begin() -> Bool {
        running.withLock { running in
            guard running < most else { return false }
            running += 1
            return true
        }
    }
}

/// A value that several threads may give and one task waits for. The first value counts.
package final class FirstAnswer<Value: Sendable>: Sendable {
    private enum State {
        case open
        case awaited(CheckedContinuation<Value, Never>)
        case given(Value)
    }

    private let state = Mutex(State.open)

    package init() {}

    package func give(_ value: Value) {
        let waiting: CheckedContinuation<Value, Never>? = state.withLock { state in
            switch state {
            case .open:
                state = .given(value)
                return nil
            case .awaited(let continuation):
                state = .given(value)
                return continuation
            case .given:
                return nil
            }
        }
        waiting?.resume(returning: value)
    }

    /// Waits for the first value. For one task only.
    package var value: Value {
        get async {
            await withCheckedContinuation { continuation in
                let given: Value? = state.withLock { state in
                    if case .given(let value) = state { return value }
                    state = .awaited(continuation)
                    return nil
                }
                if let given { continuation.resume(returning: given) }
            }
        }
    }
}
