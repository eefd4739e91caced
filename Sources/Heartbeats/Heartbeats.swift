import Dispatch
import Synchronization
import Time

/// Calls URLs after runs, so that a service elsewhere notices when they stop: a dead man's switch. Calls are made on a thread of
/// their own, one at a time. Of several that wait for one URL, the latest is made.
package final class Heartbeats: Sendable {
    /// The URLs that wait for a call, each once, in the order of their latest requests.
    private let waiting = Mutex<[HeartbeatURL]>([])
    private let queue = DispatchQueue(label: "mcp-cleanupd.heartbeats")
    private let limit: Duration
    private let authorities: [String]
    private let onFailure: @Sendable (HeartbeatURL, HTTPFailure) -> Void

    /// The time that services of this kind recommend to wait for an answer; no run waits for a call.
    package static let defaultLimit = Duration.seconds(10)

    /// - Parameters:
    ///   - limit: the time for a call; only the resolver itself may take longer.
    ///   - authorities: as in `HTTPCall.Server`.
    ///   - onFailure: called on the calls' thread; must not block for long.
    package init(
        limit: Duration = defaultLimit, authorities: [String],
        onFailure: @escaping @Sendable (HeartbeatURL, HTTPFailure) -> Void
    ) {
        self.limit = limit
        self.authorities = authorities
        self.onFailure = onFailure
    }

    /// Calls the URL, now or after the calls that wait. Returns at once; from any thread.
    package func send(to url: HeartbeatURL) {
        let isNew = waiting.withLock { waiting in
            let count = waiting.count
            waiting.removeAll { $0 == url }
            waiting.append(url)
            return waiting.count > count
        }
        guard isNew else { return }
        // One block waits on the queue for each URL in the list, so the list is not empty here.
        queue.async { [self] in call(waiting.withLock { $0.removeFirst() }) }
    }

    /// Waits until all calls have ended, `limit` has passed or the task is canceled. Returns true if all have ended.
    package func finish(within limit: Duration) async -> Bool {
        let (ends, end) = AsyncStream<Bool>.makeStream()
        // The queue is serial: this block runs after the calls.
        queue.async { end.yield(true) }
        let deadline = Deadlines.shared.add(at: .now + limit) { end.yield(false) }
        defer { Deadlines.shared.cancel(deadline) }
        return await ends.first { _ in true } ?? false
    }

    private func call(_ url: HeartbeatURL) {
        let server = HTTPCall.Server.tcp(host: url.host, port: url.port, isTLS: url.isTLS, authorities: authorities)
        do throws(HTTPFailure) {
            // 12 bytes: no more of the answer is read than `HTTP/1.1 200`.
            let status = try HTTPCall.get(
                url.target, from: server, authority: url.authority, within: limit, length: 12
            ).status
            guard (200..<300).contains(status) else { throw .refused(status: status) }
        } catch {
            onFailure(url, error)
        }
    }
}
