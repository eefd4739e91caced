import Postgres
import Synchronization
import Time

/// Checks that a loop still takes its events, by sending one through it.
///
/// At most one such event is under way, however many callers ask, so that a stuck loop does not collect them.
final class LoopProbe: Sendable {
    /// The callers that wait, each until its limit has passed; `isAsked` while the event is under way.
    private let state = Mutex((isAsked: false, waiting: [FirstAnswer<Bool>]()))

    /// Sends the event to the loop, and returns true if the loop called `answer` within the limit.
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

    /// Answers all callers. Called by the loop when it takes the event.
    func answer() {
        let answers = state.withLock { state in
            defer { state = (false, []) }
            return state.waiting
        }
        for answer in answers { answer.give(true) }
    }
}
