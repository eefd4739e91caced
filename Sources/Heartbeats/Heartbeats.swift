import Dispatch
import Synchronization
import Time

/// Calls URLs after runs, so that a service elsewhere notices when they stop: a dead man's switch.
///
/// Never delays anything: a call is made on a thread of its own, one at a time and within `limit`. What comes during a
/// call waits; of several that wait for one URL, the latest is left, which says all that the others would have.
package final class Heartbeats: Sendable {
    private struct State {
        var isCalling = false
        /// Each URL once, in the order of the latest that was told of each. As many as are configured, so two.
        var waiting: [HeartbeatURL] = []
    }

    private let state = Mutex(State())
    private let queue = DispatchQueue(label: "mcp-cleanupd.heartbeats")
    private let limit: Duration
    private let authorities: [String]
    private let onFailure: @Sendable (HeartbeatURL, HeartbeatFailure) -> Void

    /// As long as services of this kind recommend to wait for them; no run waits for it.
    package static let defaultLimit = Duration.seconds(10)

    /// - Parameters:
    ///   - limit: for a call, from the name's resolution on; only the resolver itself may take longer.
    ///   - authorities: files with the authorities that are trusted, of which the first that can be read counts, beside
    ///     those that the TLS library finds by itself.
    ///   - onFailure: on the calls' thread; must not block for long.
    package init(
        limit: Duration = defaultLimit, authorities: [String],
        onFailure: @escaping @Sendable (HeartbeatURL, HeartbeatFailure) -> Void
    ) {
        self.limit = limit
        self.authorities = authorities
        self.onFailure = onFailure
    }

    /// Calls the URL, now or after the call under way. Returns at once; from any thread.
    package func send(to url: HeartbeatURL) {
        let isIdle = state.withLock { state in
            defer { state.isCalling = true }
            state.waiting.removeAll { $0 == url }
            state.waiting.append(url)
            return !state.isCalling
        }
        if isIdle { queue.async { [self] in callAll() } }
    }

    /// Whether a call is under way, or about to be.
    package var isCalling: Bool { state.withLock(\.isCalling) }

    /// Waits until no call is under way, for as long as `limit` at most; shorter if the task is canceled.
    ///
    /// - Returns: whether all calls have ended.
    package func finish(within limit: Duration) async -> Bool {
        let (ends, end) = AsyncStream<Void>.makeStream()
        // Behind the calls, on their queue.
        queue.async { end.finish() }
        let deadline = Deadlines.shared.add(at: .now + limit) { end.finish() }
        for await _ in ends {}
        Deadlines.shared.cancel(deadline)
        return !isCalling
    }

    private func callAll() {
        // Ends when no run has ended during the last call.
        while let url = next() {
            do throws(HeartbeatFailure) {
                try HeartbeatCall.make(to: url, limit: limit, authorities: authorities)
            } catch {
                onFailure(url, error)
            }
        }
    }

    private func next() -> HeartbeatURL? {
        state.withLock { state in
            state.isCalling = !state.waiting.isEmpty
            return state.isCalling ? state.waiting.removeFirst() : nil
        }
    }
}

/// Why a heartbeat did not arrive, or may not have. Holds nothing of the URL but its host.
package enum HeartbeatFailure: Error, Hashable, Sendable, CustomStringConvertible {
    /// What the resolver says.
    case unresolved(String)
    /// With an `errno`.
    case unreachable(Int32)
    /// What the TLS library says.
    case tls(String)
    /// The connection ended, or the time did, before an answer came.
    case unanswered
    /// An answer other than 2xx.
    case refused(status: Int)
    case notHTTP

    package var description: String {
        switch self {
        case .unresolved(let message): "the host's name cannot be resolved: \(message)"
        case .unreachable(let code): "the host cannot be reached: \(String(errorNumber: code))"
        case .tls(let message): "TLS failed: \(message)"
        case .unanswered: "no answer came in time"
        case .refused(let status): "the answer was \(status)"
        case .notHTTP: "what answered does not speak HTTP"
        }
    }
}
