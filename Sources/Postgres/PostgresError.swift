import Time

/// Why the database did not do what it was asked to.
///
/// No case carries a password or a connection URL, so any of them may be logged.
package enum PostgresError: Error, Hashable, Sendable {
    /// libpq does not accept the connection's parameters, whatever the server would say.
    case invalidParameters(String)
    /// No server could be reached, or none that may be trusted.
    case unreachable(Unreachability, message: String)
    /// The server answered with an error.
    case server(ServerMessage, during: Step)
    /// The connection ended, or was never usable again, while something was under way.
    case connectionLost(during: Step, message: String)
    /// The server did not answer in time; the statement was canceled on the server if the server could be reached.
    case timedOut(during: Step, limit: Duration)
    /// The task was canceled; so was the statement on the server, if the server could be reached.
    case canceled(during: Step)
    /// The server answered something else than the protocol or our own statement allows.
    case unexpectedAnswer(String)

    /// What was under way, in an operator's words.
    package enum Step: String, Hashable, Sendable, CustomStringConvertible {
        case connecting = "connecting"
        case querying = "running a statement"
        case committing = "committing"

        package var description: String { rawValue }
    }

    /// Why no connection came about, for metrics: a closed set.
    package enum Unreachability: String, Hashable, Sendable, CaseIterable {
        /// The host's name has no address.
        case unresolved
        /// Something answered that nobody listens there, or the socket file is missing.
        case refused
        /// Nothing answered in time.
        case silent
        /// The certificate, the protocol version or the channel binding was not acceptable.
        case tls
        /// The connection ended during its set-up, or something else than PostgreSQL answered.
        case broken

        static let gravestFirst: [Unreachability] = [.tls, .broken, .silent, .refused, .unresolved]
    }

    /// Whether it says something about one host only.
    var leavesOtherHostsToTry: Bool {
        switch self {
        case .unreachable: true
        case .server(let message, _): message.sqlState.isTemporaryRefusal
        case .invalidParameters, .connectionLost, .timedOut, .canceled, .unexpectedAnswer: false
        }
    }

    /// One error for all hosts, which failed one after the other: what a server said, else all that was tried, under
    /// the cause that a person can do most about.
    init(ofAllHosts failures: [PostgresError]) {
        var messages: [String] = []
        var causes: Set<Unreachability> = []
        var refusal: PostgresError?
        for failure in failures {
            if case .unreachable(let cause, let message) = failure {
                causes.insert(cause)
                messages.append(message)
            } else {
                refusal = failure
            }
        }
        let gravest = Unreachability.gravestFirst.first(where: causes.contains) ?? .unresolved
        self = refusal ?? .unreachable(gravest, message: messages.joined(separator: "; "))
    }

    /// The server's SQLSTATE, where the server said one.
    package var sqlState: SQLState? {
        if case .server(let message, _) = self { return message.sqlState }
        return nil
    }
}

extension PostgresError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .invalidParameters(let message):
            "the database URL is not usable: \(message)"
        case .unreachable(_, let message):
            "cannot connect: \(message)"
        case .server(let message, .connecting):
            "the server refused the connection: \(message)"
        case .server(let message, _):
            "\(message)"
        case .connectionLost(let step, let message):
            "the connection was lost while \(step): \(message)"
        case .timedOut(let step, let limit):
            "the server did not answer within \(limit.secondsText) while \(step)"
        case .canceled(let step):
            "canceled while \(step)"
        case .unexpectedAnswer(let what):
            "the server answered what it should not: \(what)"
        }
    }
}
