import Dispatch
import Synchronization
import Time

/// Runs C calls that block for as long as they like on threads of their own, and waits for them only so long.
///
/// Used for the two calls of the platform that have no non-blocking form: `getaddrinfo(3)` and libpq 15's `PQcancel`.
enum BlockingCall {
    /// What `body` returned, or `nil` when it had not returned after `limit` or when the task was canceled first.
    ///
    /// The call is not interrupted: it goes on in its thread, nobody waits for it, and its result is dropped. It ends
    /// by the resolver's or the kernel's own timeouts.
    static func run<Value: Sendable>(
        limit: Duration, heedsCancellation: Bool = true, _ body: @escaping @Sendable () -> Value
    ) async -> Value? {
        let answer = FirstAnswer<Value?>()
        let limit = Deadlines.shared.add(at: .now + limit) { answer.give(nil) }
        defer { Deadlines.shared.cancel(limit) }
        // A serial queue for each call: Dispatch gives each of those a thread, up to 255. A concurrent queue would take
        // its threads from the ones that Swift's cooperative pool runs on, one per core, and a few silent name servers
        // would stop the whole process.
        DispatchQueue(label: "mcp-cleanupd.postgres.blocking").async { answer.give(body()) }
        guard heedsCancellation else { return await answer.value }
        return await withTaskCancellationHandler {
            await answer.value
        } onCancel: {
            answer.give(nil)
        }
    }
}

/// A value that several threads may give and one task waits for; the first one counts.
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

    /// The first value given. For one task only.
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
