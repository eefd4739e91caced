import CleanupDaemon
import Time

/// The answers to HTTP requests, without the HTTP: a path in, a body out. None of them asks the database.
package struct Endpoints: Sendable {
    package struct Answer: Sendable {
        package let status: Int
        package let contentType: String
        package let body: String
        /// The Content-Security-Policy: it allows nothing unless the page needs it.
        package var contentPolicy = "default-src 'none'; frame-ancestors 'none'"

        package init(_ status: Int, _ text: String) {
            self.status = status
            contentType = "text/plain; charset=utf-8"
            body = text.visibleLines + "\n"
        }

        package init(html page: StatusPage) {
            status = 200
            contentType = "text/html; charset=utf-8"
            body = page.html
            contentPolicy = page.contentPolicy
        }

        package init(metrics text: String) {
            status = 200
            contentType = "text/plain; version=0.0.4; charset=utf-8"
            body = text
        }

        init(_ document: StatusDocument) {
            status = 200
            contentType = "application/json"
            body = "\(document.json)\n"
        }
    }

    private let record: ServiceRecord
    private let isTurning: @Sendable (Duration) async -> Bool
    private let isConnectingStuck: @Sendable () -> Bool

    /// The longest time the scheduler's loop may take to answer: a thousand times what it takes, and less than any probe
    /// waits.
    private static let loopLimit = Duration.milliseconds(500)

    /// - Parameters:
    ///   - isTurning: whether the scheduler's loop takes an event within the limit.
    ///   - isConnectingStuck: whether no connection can be made before a call ends that may last for hours: only another
    ///     process can do the work then.
    package init(
        record: ServiceRecord, isTurning: @escaping @Sendable (_ within: Duration) async -> Bool,
        isConnectingStuck: @escaping @Sendable () -> Bool
    ) {
        self.record = record
        self.isTurning = isTurning
        self.isConnectingStuck = isConnectingStuck
    }

    /// - Parameters:
    ///   - method: GET, or HEAD, which is answered alike.
    ///   - target: the request's, with a query if it has one.
    package func answer(method: String, target: String) async -> Answer {
        guard method == "GET" || method == "HEAD" else { return Answer(405, "Only GET and HEAD are answered here.") }
        switch target.prefix(while: { $0 != "?" }) {
        case "/": return Answer(html: StatusPage(record.state, at: record.now))
        case "/status.json": return Answer(StatusDocument(record.state, at: record.now))
        case "/livez": return await liveness()
        case "/readyz": return readiness()
        case "/metrics": return Answer(metrics: record.metrics(process: .current).text)
        default: return Answer(404, "There are /, /status.json, /livez, /readyz and /metrics.")
        }
    }

    private func liveness() async -> Answer {
        guard await isTurning(Self.loopLimit) else {
            return Answer(503, "the scheduler did not answer within \(Self.loopLimit.inWords)")
        }
        if isConnectingStuck() {
            return Answer(503, "an attempt to connect was given up and has not returned: no other can begin")
        }
        return record.state.fault(at: record.now).map { Answer(503, $0) } ?? Answer(200, "alive")
    }

    private func readiness() -> Answer {
        let obstacles = record.state.obstacles(at: record.now)
        return obstacles.isEmpty ? Answer(200, "ready") : Answer(503, obstacles.joined(separator: "\n"))
    }
}
