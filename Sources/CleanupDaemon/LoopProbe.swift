import Postgres
import Synchronization

/// Finds out whether a loop still takes its events, by sending one through it.
///
/// At most one such event is on its way, however many ask, so that a loop that is stuck is not buried in questions.
final class LoopProbe: Sendable {
    private let waiting = Mutex<[FirstAnswer<Bool>]>([])

    /// Who waits at most; a loop that keeps so many waiting is stuck.
    private static let limit = 64

    /// Whether the loop called `answer` within the limit.
    ///
    /// - Parameter send: puts the event among the loop's others.
    func isAnswered(within limit: Duration, send: () -> Void) async -> Bool {
        let answer = FirstAnswer<Bool>()
        let ahead = waiting.withLock { waiting in
            if waiting.count < Self.limit { waiting.append(answer) }
            return waiting.count - 1
        }
        guard ahead < Self.limit - 1 else { return false }
        if ahead == 0 { send() }
        let timer = MonotonicTimer { answer.give(false) }
        timer.arm(after: limit)
        // The timer's end is its cancellation.
        defer { withExtendedLifetime(timer) {} }
        return await answer.value
    }

    /// The event has come through. Called by the loop.
    func answer() {
        let answers = waiting.withLock { waiting in
            defer { waiting = [] }
            return waiting
        }
        for answer in answers { answer.give(true) }
    }
}
