package import CleanupDaemon
import Postgres
package import SessionCleanup
package import Time

/// The counters and histograms: what can only be counted while it happens. Gauges are read from `ServiceState`.
///
/// Every series exists from the start, at zero, and stays: a counter that vanished and came back would look like a restart.
package struct RunCounts: Sendable {
    struct Histogram: Sendable {
        /// Observations that fit this bucket and no smaller one; the last is for those above every bound.
        var buckets: [Int]
        var sum = 0.0
    }

    /// By family and then by labels, as in the text: `{job_name="…"}`, or nothing.
    private(set) var counters: [MetricFamily: [String: Int]] = [:]
    private(set) var histograms: [MetricFamily: [String: Histogram]] = [:]

    package init(jobs: [Job]) {
        for cause in ConnectFailureCause.allCases { count(.connectFailures, 0, Self.labels(cause)) }
        count(.notifyFailures, 0)
        observe(.connectDuration, nil)
        for job in jobs { addSeries(of: job.name) }
    }

    private mutating func addSeries(of job: String) {
        for outcome in Outcome.allCases { count(.runs, 0, Self.labels(job, outcome)) }
        let families: [MetricFamily] = [
            .rowsDeleted, .rowsSkipped, .rowsRefused, .batches, .coalescedFires, .missedFires, .passedOverFires,
        ]
        for family in families { count(family, 0, Self.labels(job)) }
        for family in [MetricFamily.runDuration, .batchDuration, .startDelay] { observe(family, nil, Self.labels(job)) }
    }

    // MARK: Events

    /// - Parameter now: the host's wall clock when it happened.
    package mutating func record(_ event: ServiceEvent, at now: UTCInstant) {
        switch event {
        case .started(let armed), .reloaded(let armed, _): for (job, _) in armed { addSeries(of: job.name) }
        case .attemptStarted(let job, let scheduledAt, let origin, number: 1) where origin == .schedule:
            observe(.startDelay, now - scheduledAt, Self.labels(job))
        case .connected(let duration): observe(.connectDuration, duration)
        case .connectFailed(let failure): count(.connectFailures, 1, Self.labels(ConnectFailureCause(failure)))
        case .batchEnded(let job, let duration, let rowsDeleted):
            observe(.batchDuration, duration, Self.labels(job))
            count(.batches, 1, Self.labels(job))
            count(.rowsDeleted, rowsDeleted, Self.labels(job))
        case .runConcluded(let report):
            count(.runs, 1, Self.labels(report.job, report.outcome))
            guard report.outcome != .skipped else { break }
            count(.rowsSkipped, report.progress.rowsSkipped, Self.labels(report.job))
            count(.rowsRefused, report.progress.rowsRefused, Self.labels(report.job))
            observe(.runDuration, report.lastAttemptDuration, Self.labels(report.job))
        case .fireTimeCoalesced(let job, _): count(.coalescedFires, 1, Self.labels(job))
        case .fireTimesPassedOver(let job, let number, _): count(.passedOverFires, number, Self.labels(job))
        case .fireTimesMissed(let job, let number): count(.missedFires, number, Self.labels(job))
        default: break
        }
    }

    /// A heartbeat could not be delivered.
    package mutating func recordNotifyFailure() { count(.notifyFailures, 1) }

    private mutating func count(_ family: MetricFamily, _ amount: Int, _ labels: String = "") {
        counters[family, default: [:]][labels, default: 0] += amount
    }

    /// - Parameter duration: `nil` only makes the series. One below zero, which setting the clock causes, counts as zero.
    private mutating func observe(_ family: MetricFamily, _ duration: Duration?, _ labels: String = "") {
        guard case .histogram(let bounds) = family.kind else { return }
        let empty = Histogram(buckets: Array(repeating: 0, count: bounds.count + 1))
        let seconds = duration.map { max($0, .zero).fractionalSeconds }
        func change(_ histogram: inout Histogram) {
            guard let seconds else { return }
            histogram.sum += seconds
            histogram.buckets[bounds.firstIndex { seconds <= $0 } ?? bounds.count] += 1
        }
        change(&histograms[family, default: [:]][labels, default: empty])
    }

    // MARK: Labels

    static func labels(_ job: String) -> String { "{\(pair("job_name", job))}" }
    private static func labels(_ cause: ConnectFailureCause) -> String { "{\(pair("cause", cause.rawValue))}" }
    private static func labels(_ job: String, _ outcome: Outcome) -> String {
        "{\(pair("job_name", job)),\(pair("outcome", outcome.rawValue))}"
    }

    static func pair(_ name: String, _ value: String) -> String {
        let escaped = value.visible.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"")
        return "\(name)=\"\(escaped)\""
    }
}

/// Why a connection could not be opened, as a label: `PostgresError.Unreachability` and what a server may answer.
package enum ConnectFailureCause: String, CaseIterable, Sendable {
    case unresolved, refused, noRoute = "no_route", silent, tls, broken
    /// The server turned the role or its password down.
    case authentication
    /// The server is starting, stopping or full, or a pooler has none.
    case unavailable
    /// The URL, above all.
    case configuration
    case other

    package init(_ failure: RunFailure) {
        switch failure {
        case .database(.unreachable(let cause, _)): self = Self(rawValue: cause.rawValue) ?? .other
        case .database(.timedOut(_, _)): self = .silent
        case .database(.connectionLost(_, _)): self = .broken
        default:
            switch failure.kind {
            case .refused: self = .authentication
            case .unreachable: self = .unavailable
            case .misconfigured: self = .configuration
            case .mayPass, .canceled, .unexpected: self = .other
            }
        }
    }
}
