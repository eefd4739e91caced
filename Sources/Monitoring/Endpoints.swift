import CleanupDaemon
import Time

/// What is served over HTTP, without the HTTP: paths in, pages out. Nothing here asks the database.
package struct Endpoints: Sendable {
    package struct Answer: Sendable {
        package let status: Int
        package let contentType: String
        package let body: String
        /// What a browser may do with the page; nothing unless it says so.
        package var contentPolicy = "default-src 'none'; frame-ancestors 'none'"

        package init(_ status: Int, _ text: String) {
            self.status = status
            contentType = "text/plain; charset=utf-8"
            body = text + "\n"
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
    }

    private let record: ServiceRecord
    private let registry: PrometheusRegistry
    private let version: String
    private let isTurning: @Sendable (Duration) async -> Bool

    /// How long the scheduler's loop may take to answer: a thousand times what it takes, and less than any probe waits.
    private static let patience = Duration.milliseconds(500)

    /// - Parameter isTurning: whether the scheduler's loop takes an event within the limit.
    package init(
        record: ServiceRecord, registry: PrometheusRegistry, version: String,
        isTurning: @escaping @Sendable (_ within: Duration) async -> Bool
    ) {
        self.record = record
        self.registry = registry
        self.version = version
        self.isTurning = isTurning
    }

    /// - Parameters:
    ///   - method: GET, or HEAD, which is answered alike.
    ///   - target: the request's, with a query if it has one.
    package func answer(method: String, target: String) async -> Answer {
        guard method == "GET" || method == "HEAD" else { return Answer(405, "Only GET and HEAD are answered here.") }
        switch target.prefix(while: { $0 != "?" }) {
        case "/": return Answer(html: StatusPage(record.state, at: record.now, version: version))
        case "/livez": return await liveness()
        case "/readyz": return readiness()
        case "/metrics": return Answer(metrics: registry.text)
        default: return Answer(404, "There are /, /livez, /readyz and /metrics.")
        }
    }

    private func liveness() async -> Answer {
        guard await isTurning(Self.patience) else {
            return Answer(503, "the scheduler did not answer within \(Self.patience.inWords)")
        }
        return record.state.deadTimer(at: record.now).map { Answer(503, $0) } ?? Answer(200, "alive")
    }

    private func readiness() -> Answer {
        let obstacles = record.state.obstacles(at: record.now)
        return obstacles.isEmpty ? Answer(200, "ready") : Answer(503, obstacles.joined(separator: "\n"))
    }
}
