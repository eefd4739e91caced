package import Heartbeats
package import SessionCleanup
package import Time

/// Everything that can be set, validated.
package struct Configuration: Hashable, Sendable {
    package var table = TableName.sessions
    package var sessionSchema = SessionSchema.auto
    package var connectTimeout = Duration.seconds(15)
    package var limits = RunLimits.standard
    package var history = History.standard
    /// The address at which HTTP is served; `nil` for no HTTP.
    package var httpListen: ListenAddress? = .tcp(host: "127.0.0.1", port: 9764)
    package var logLevel = LogLevel.info
    package var logFormat = LogFormat.auto
    /// The URL that is called after a run that went well; `nil` for no call.
    package var successHeartbeat: HeartbeatURL?
    /// The URL that is called after a run that failed; `nil` for no call.
    package var failureHeartbeat: HeartbeatURL?
    package var shutdownTimeout = Duration.seconds(20)
    /// In the order in which they run when they are due together: the built-in two, then the operator's own in the order of
    /// the file.
    package internal(set) var jobs = [Job.transientSessions, Job.dormantSessions()]

    package var transient: Job { jobs[0] }
    package var dormant: Job { jobs[1] }
}

/// The minimum level of a message that is logged.
package enum LogLevel: String, Hashable, Sendable, CaseIterable {
    case trace, debug, info, notice, warning, error, critical
}

/// The format of log messages.
package enum LogFormat: String, Hashable, Sendable, CaseIterable {
    /// Entries of the journal where standard error is connected to it; else lines of text on a terminal and from one-shot
    /// commands, and JSON from the service, which then runs in a container or under another supervisor.
    case auto
    case text
    case json
    case journal
}
