import Dispatch
import Synchronization
import Time

/// Calls URLs after runs, so that a service elsewhere notices when they stop: a dead man's switch. Calls are made on a thread of
/// their own, one at a time. Of several that wait for one URL, the latest is made.
package final class Heartbeats: Sendable {
    /// Each URL once, in the order of its latest request.
    private let waiting = Mutex<[HeartbeatURL]>([])
    private let queue = DispatchQueue(label: "mcp-cleanupd.heartbeats")
    private let limit: Duration
    private let authorities: [String]
    private let onFailure: @Sendable (HeartbeatURL, HTTPFailure) -> Void

    /// As long as services of this kind recommend to wait for them; no run waits for it.
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
        // As many calls wait on the queue as URLs in the list.
        queue.async { [self] in call(waiting.withLock { $0.removeFirst() }) }
    }

    /// Waits for the calls under way, for as long as `limit` or the task at most. Returns true if all have ended.
    package func finish(within limit: Duration) async -> Bool {
        let (ends, end) = AsyncStream<Bool>.makeStream()
        // Behind the calls, on their queue.
        queue.async { end.yield(true) }
        let deadline = Deadlines.shared.add(at: .now + limit) { end.yield(false) }
        defer { Deadlines.shared.cancel(deadline) }
        return await ends.first { _ in true } ?? false
    }

    private func call(_ url: HeartbeatURL) {
        let server = HTTPCall.Server.tcp(host: url.host, port: url.port, isTLS: url.isTLS, authorities: authorities)
        do throws(HTTPFailure) {
            // No more of the answer than `HTTP/1.1 200`.
            let status = try HTTPCall.get(
                url.target, from: server, authority: url.authority, within: limit, length: 12
            ).status
            guard (200..<300).contains(status) else { throw .refused(status: status) }
        } catch {
            onFailure(url, error)
        }
    }
}
