import Time

/// An error of the database, or of the connection to it. No case carries a password or a connection URL.
package enum PostgresError: Error, Hashable, Sendable {
    /// libpq does not accept the connection's parameters.
    case invalidParameters(String)
    /// No server could be reached, or none that can be trusted.
    case unreachable(Unreachability, message: String)
    case server(ServerMessage, during: Step)
    case connectionLost(during: Step, message: String)
    /// The server did not answer in time; the statement was canceled on the server if the server could be reached.
    case timedOut(during: Step, limit: Duration)
    /// The task was canceled; so was the statement on the server, if the server could be reached.
    case canceled(during: Step)
    /// An answer that the protocol, the statement or the bounds on its size do not allow.
    case unexpectedAnswer(String)

    package enum Step: String, Hashable, Sendable {
        case connecting = "connecting"
        case querying = "running a statement"
        case committing = "committing"
    }

    /// The reason why no connection was made; the reasons that an operator can do most about come first.
    package enum Unreachability: String, Hashable, Sendable, CaseIterable {
        /// The certificate, the protocol version or the channel binding was not acceptable.
        case tls
        /// The connection ended during its set-up, or another program than PostgreSQL answered.
        case broken
        case silent
        /// The port is closed, or the socket file is missing.
        case refused
        /// This host has no route to the address, such as an IPv6 address where it has only IPv4.
        case noRoute = "no_route"
        case unresolved
    }

    /// True if another host may accept the connection: also if a server is starting, stopping or recovering (57P03,
    /// 57P01) or has no connection left (53300).
    var leavesOtherHostsToTry: Bool {
        if case .unreachable = self { true } else { ["57P03", "57P01", "53300"].contains(sqlState) }
    }

    /// One error for all hosts: the last error that a server sent, else the messages of all.
    init(ofAllHosts failures: [PostgresError]) {
        let unreachable = failures.compactMap { failure in
            if case .unreachable(let cause, let message) = failure { (cause: cause, message: message) } else { nil }
        }
        let refusal = failures.last { if case .unreachable = $0 { false } else { true } }
        let cause = Unreachability.allCases.first { unreachable.map(\.cause).contains($0) }
        let message = unreachable.map(\.message).joined(separator: "; ")
        self = refusal ?? .unreachable(cause ?? .unresolved, message: message)
    }

    package var sqlState: SQLState? {
        if case .server(let message, _) = self { message.sqlState } else { nil }
    }
}

extension PostgresError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .invalidParameters(let message): "the database URL is not usable: \(message)"
        case .unreachable(_, let message): "cannot connect: \(message)"
        case .server(let message, let step) where PoolerRefusal(message) != nil:
            step == .connecting
                ? "the pooler refused the connection: \(message)" : "the pooler ended the connection: \(message)"
        case .server(let message, .connecting): "the server refused the connection: \(message)"
        case .server(let message, _): "\(message)"
        case .connectionLost(let step, let message): "the connection was lost while \(step.rawValue): \(message)"
        case .timedOut(let step, let limit):
            "the server did not answer within \(limit.secondsText) while \(step.rawValue)"
        case .canceled(let step): "canceled while \(step.rawValue)"
        case .unexpectedAnswer(let what): "the server answered what it should not: \(what)"
        }
    }
}
