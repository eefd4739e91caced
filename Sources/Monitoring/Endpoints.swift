import CleanupDaemon
import NIOHTTP1
import Time

/// The answers to HTTP requests. None of them asks the database.
package struct Endpoints: Sendable {
    struct Answer: Sendable {
        var status = 200
        var contentType = "text/plain; charset=utf-8"
        let body: String
        /// The Content-Security-Policy: it allows nothing unless the page needs it.
        var contentPolicy = "default-src 'none'; frame-ancestors 'none'"
    }

    private let record: ServiceRecord
    private let isTurning: @Sendable (Duration) async -> Bool
    private let isConnectingStuck: @Sendable () -> Bool

    /// The longest time the scheduler's loop may take to answer: a thousand times what it takes, and less than any probe
    /// waits.
    private static let loopLimit = Duration.milliseconds(500)

    /// - Parameters:
    ///   - isTurning: returns true if the scheduler's loop takes an event within the limit.
    ///   - isConnectingStuck: returns true if no connection can be opened until a blocked call returns, perhaps after
    ///     hours: only another process can do the work then.
    package init(
        record: ServiceRecord, isTurning: @escaping @Sendable (_ within: Duration) async -> Bool,
        isConnectingStuck: @escaping @Sendable () -> Bool
    ) {
        self.record = record
        self.isTurning = isTurning
        self.isConnectingStuck = isConnectingStuck
    }

    /// - Parameter isLoopback: true if only programs of this machine can connect. The Host header must then be local: a
    ///   web page whose DNS name was pointed at this machine sends that name.
    func answer(_ request: HTTPRequestHead, isLoopback: Bool) async -> Answer {
        let hosts = request.headers["Host"]
        // RFC 9112, section 3.2. A health check may be of HTTP/1.0 and without one; no browser is.
        guard hosts.count == 1 || hosts.isEmpty && request.version == .http1_0 else {
            return Answer(400, "A request must have one Host header.")
        }
        guard !isLoopback || hosts.allSatisfy(Self.isLocal) else {
            return Answer(
                421,
                "The Host header names another host. Ask for localhost or an IP address, or set http.listen to the address that others reach."
            )
        }
        return await answer(method: request.method.rawValue, target: request.uri)
    }

    /// True if the host is a name that a person or a scraper on this machine would use.
    private static func isLocal(_ authority: String) -> Bool {
        if authority.isEmpty || authority.hasPrefix("[") { return true }
        let host = authority.prefix { $0 != ":" }
        return host.lowercased() == "localhost" || host.allSatisfy { $0.isASCII && $0.isNumber || $0 == "." }
    }

    /// - Parameter target: the request's target, with its query if it has one.
    func answer(method: String, target: String) async -> Answer {
        guard method == "GET" || method == "HEAD" else { return Answer(405, "Only GET and HEAD are answered here.") }
        switch Self.path(target) {
        case "/":
            let page = StatusPage(state: record.state, now: record.now)
            return Answer(contentType: "text/html; charset=utf-8", body: page.html, contentPolicy: page.contentPolicy)
        case "/status.json":
            return Answer(contentType: "application/json", body: "\(record.state.document(at: record.now))\n")
        case "/livez":
            guard await isTurning(Self.loopLimit) else {
                return Answer(503, "the scheduler did not answer within \(Self.loopLimit.inWords)")
            }
            guard !isConnectingStuck() else {
                return Answer(503, "an attempt to connect was given up and has not returned: no other can begin")
            }
            let fault = record.state.fault(at: record.now)
            return Answer(fault == nil ? 200 : 503, fault ?? "alive")
        case "/readyz":
            let obstacles = record.state.obstacles(at: record.now)
            return obstacles.isEmpty ? Answer(200, "ready") : Answer(503, obstacles.joined(separator: "\n"))
        case "/metrics":
            return Answer(
                contentType: "text/plain; version=0.0.4; charset=utf-8", body: record.metricsText(.current))
        default: return Answer(404, "There are /, /status.json, /livez, /readyz and /metrics.")
        }
    }

    /// The path, without the query, and without the scheme and the host of a proxy's request: RFC 9112, section 3.2.2.
    private static func path(_ target: String) -> Substring {
        let target = target.prefix { $0 != "?" }
        guard !target.hasPrefix("/"), let scheme = target.firstRange(of: "://") else { return target }
        let path = target[scheme.upperBound...].drop { $0 != "/" }
        return path.isEmpty ? "/" : path
    }
}

extension Endpoints.Answer {
    init(_ status: Int, _ text: String) { self.init(status: status, body: text.visibleLines + "\n") }

    var head: HTTPResponseHead {
        var headers: HTTPHeaders = [
            "Content-Type": contentType, "Content-Length": "\(body.utf8.count)", "Cache-Control": "no-store",
            "Content-Security-Policy": contentPolicy, "X-Content-Type-Options": "nosniff", "Connection": "close",
            "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
        ]
        if status == 405 { headers.add(name: "Allow", value: "GET, HEAD") }
        return HTTPResponseHead(version: .http1_1, status: HTTPResponseStatus(statusCode: status), headers: headers)
    }
}
