import Postgres
import Synchronization
import Time

/// Finds out whether a loop still takes its events, by sending one through it.
///
/// At most one such event is on its way, however many ask, so that a loop that is stuck is not buried in questions.
final class LoopProbe: Sendable {
    private struct State {
        var isAsked = false
        /// Nobody stays longer than the limit that it came with.
        var waiting: [FirstAnswer<Bool>] = []
    }

    private let state = Mutex(State())

    /// Whether the loop called `answer` within the limit.
    ///
    /// - Parameter send: puts the event among the loop's others.
    func isAnswered(within limit: Duration, send: () -> Void) async -> Bool {
        let answer = FirstAnswer<Bool>()
        let isFirst = state.withLock { state in
            defer { state.isAsked = true }
            state.waiting.append(answer)
            return !state.isAsked
        }
        if isFirst { send() }
        let end = Deadlines.shared.add(at: .now + limit) { answer.give(false) }
        defer { Deadlines.shared.cancel(end) }
        let isAnswered = await answer.value
        if !isAnswered { state.withLock { $0.waiting.removeAll { $0 === answer } } }
        return isAnswered
    }

    /// The event has come through. Called by the loop.
    func answer() {
        let answers = state.withLock { state in
            defer { state = State() }
            return state.waiting
        }
        for answer in answers { answer.give(true) }
    }
}
