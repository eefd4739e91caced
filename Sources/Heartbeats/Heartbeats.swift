import Dispatch

/// Calls URLs after runs, so that a service elsewhere notices when they stop: a dead man's switch.
///
/// Never delays anything: a call is made on a thread of its own, one at a time and within a limit. Of several calls that
/// wait for one URL, the latest is made, which says all that the others would have.
package final class Heartbeats: Sendable {
    private let sender: LatestSender<HeartbeatURL>

    /// As long as services of this kind recommend to wait for them; no run waits for it.
    package static let defaultLimit = Duration.seconds(10)

    /// - Parameters:
    ///   - limit: the time for a call, from the name's resolution on; only the resolver itself may take longer.
    ///   - authorities: files with the authorities that are trusted, of which the first that can be read counts, beside
    ///     those that the TLS library finds by itself.
    ///   - onFailure: called on the calls' thread; must not block for long.
    package init(
        limit: Duration = defaultLimit, authorities: [String],
        onFailure: @escaping @Sendable (HeartbeatURL, HTTPFailure) -> Void
    ) {
        sender = LatestSender(queue: DispatchQueue(label: "mcp-cleanupd.heartbeats")) { url in
            do throws(HTTPFailure) {
                try Self.call(url, limit: limit, authorities: authorities)
            } catch {
                onFailure(url, error)
            }
        }
    }

    /// Calls the URL, now or after the call under way. Returns at once; from any thread.
    package func send(to url: HeartbeatURL) { sender.send(url) }

    /// True while a call is under way, or about to be.
    package var isCalling: Bool { sender.isSending }

    /// Waits until no call is under way, for as long as `limit` at most; shorter if the task is canceled.
    ///
    /// - Returns: true if all calls have ended.
    package func finish(within limit: Duration) async -> Bool { await sender.finish(within: limit) }

    private static func call(_ url: HeartbeatURL, limit: Duration, authorities: [String]) throws(HTTPFailure) {
        let server = HTTPCall.Server.tcp(
            host: url.host, port: url.port, isTLS: url.isTLS, authorities: authorities)
        let status = try HTTPCall(server, target: url.target, authority: url.authority)
            .answer(within: limit, length: HTTPCall.statusLength).status
        guard (200..<300).contains(status) else { throw .refused(status: status) }
    }
}
