import CleanupDaemon
import Postgres
import SessionCleanup
import Time

/// The counters and histograms: what can only be counted while it happens. Gauges are read from `ServiceState`.
///
/// Every series exists from the start, at zero, and stays: a counter that vanished and came back would look like a restart.
struct RunCounts: Sendable {
    /// By family and then by labels, as in the text: `{job_name="…"}`, or nothing. A counter has one value; a histogram the
    /// observations up to the bound of each bucket, their sum and their count.
    private(set) var series: [MetricFamily: [String: [Double]]] = [:]

    init(jobs: [Job]) {
        for cause in ConnectFailureCause.allCases { count(.connectFailures, 0, ["cause": cause.rawValue]) }
        count(.notifyFailures, 0)
        observe(.connectDuration, nil)
        for job in jobs { addSeries(of: job.name) }
    }

    private mutating func addSeries(of job: String) {
        for outcome in Outcome.allCases { count(.runs, 0, ["job_name": job, "outcome": outcome.rawValue]) }
        let families: [MetricFamily] = [
            .rowsDeleted, .rowsSkipped, .rowsRefused, .batches, .coalescedFires, .missedFires, .passedOverFires,
        ]
        for family in families { count(family, 0, ["job_name": job]) }
        for family in [MetricFamily.runDuration, .batchDuration, .startDelay] {
            observe(family, nil, ["job_name": job])
        }
    }

    mutating func record(_ event: ServiceEvent, at now: UTCInstant) {
        switch event {
        case .started(let armed), .reloaded(let armed, _): for (job, _) in armed { addSeries(of: job.name) }
        case .attemptStarted(let job, let scheduledAt, let origin, number: 1) where origin == .schedule:
            observe(.startDelay, now - scheduledAt, ["job_name": job])
        case .connectionTried(.success(let duration)): observe(.connectDuration, duration)
        case .connectionTried(.failure(let failure)):
            count(.connectFailures, 1, ["cause": ConnectFailureCause(failure).rawValue])
        case .batchEnded(let job, let duration, let rowsDeleted):
            observe(.batchDuration, duration, ["job_name": job])
            count(.batches, 1, ["job_name": job])
            count(.rowsDeleted, rowsDeleted, ["job_name": job])
        case .runConcluded(let report):
            count(.runs, 1, ["job_name": report.job, "outcome": report.outcome.rawValue])
            guard report.outcome != .skipped else { break }
            count(.rowsSkipped, report.progress.rowsSkipped, ["job_name": report.job])
            count(.rowsRefused, report.progress.rowsRefused, ["job_name": report.job])
            observe(.runDuration, report.lastAttemptDuration, ["job_name": report.job])
        case .fireTimeCoalesced(let job, _): count(.coalescedFires, 1, ["job_name": job])
        case .fireTimesPassedOver(let job, let number, _): count(.passedOverFires, number, ["job_name": job])
        case .fireTimesMissed(let job, let number): count(.missedFires, number, ["job_name": job])
        default: break
        }
    }

    mutating func count(_ family: MetricFamily, _ amount: Int, _ labels: KeyValuePairs<String, String> = [:]) {
        series[family, default: [:]][Self.text(labels), default: [0]][0] += Double(amount)
    }

    /// - Parameter duration: `nil` only makes the series. One below zero, which setting the clock causes, counts as zero.
    private mutating func observe(
        _ family: MetricFamily, _ duration: Duration?, _ labels: KeyValuePairs<String, String> = [:]
    ) {
        let bounds = (family.bounds ?? []) + [.infinity]
        let zeros = [Double](repeating: 0, count: bounds.count + 2)
        func change(_ values: inout [Double]) {
            guard let seconds = duration.map({ max($0, .zero).fractionalSeconds }) else { return }
            for (index, bound) in bounds.enumerated() where seconds <= bound { values[index] += 1 }
            values[bounds.count] += seconds
            values[bounds.count + 1] += 1
        }
        change(&series[family, default: [:]][Self.text(labels), default: zeros])
    }

    /// The labels as in the text; empty for none.
    static func text(_ labels: KeyValuePairs<String, String>) -> String {
        let pairs = labels.map { name, value in
            "\(name)=\"\(value.visible.replacing("\\", with: "\\\\").replacing("\"", with: "\\\""))\""
        }
        return pairs.isEmpty ? "" : "{\(pairs.joined(separator: ","))}"
    }
}

/// Why a connection could not be opened, as a label: `PostgresError.Unreachability` and what a server may answer.
enum ConnectFailureCause: String, CaseIterable {
    case unresolved, refused, noRoute = "no_route", silent, tls, broken
    /// The server turned the role or its password down.
    case authentication
    /// The server is starting, stopping or full, or a pooler has none.
    case unavailable
    /// The URL, above all.
    case configuration
    case other

    init(_ failure: RunFailure) {
        switch (failure, failure.kind) {
        case (.database(.unreachable(let cause, _)), _): self = Self(rawValue: cause.rawValue) ?? .other
        case (.database(.timedOut), _): self = .silent
        case (.database(.connectionLost), _): self = .broken
        case (_, .refused): self = .authentication
        case (_, .unreachable): self = .unavailable
        case (_, .misconfigured): self = .configuration
        case (_, .mayPass), (_, .canceled), (_, .unexpected): self = .other
        }
    }
}
