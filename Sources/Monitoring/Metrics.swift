import CleanupDaemon
import Postgres
import SessionCleanup
package import Time

/// The series of all families. Counters and histograms count events as they happen; gauges are read from `ServiceState`
/// for each text.
///
/// Every counter exists from the start, at zero, and stays: one that vanished and came back would look like a restart.
package struct Metrics: Sendable {
    typealias Labels = KeyValuePairs<String, String>

    /// Values by family, then by labels as in the text: `{job_name="…"}`, or empty. A counter has one value; a gauge
    /// has one, or none if this process does not know it, which is written as zero; a histogram has the cumulative
    /// count of each bucket, the sum and the count.
    private var series: [MetricFamily: [String: [Double]]] = [:]

    init(jobs: [Job]) {
        for cause in ConnectFailureCause.allCases { count(.connectFailures, 0, ["cause": cause.rawValue]) }
        count(.notifyFailures, 0)
        change(.connectDuration)
        for job in jobs { addSeries(of: job.name) }
    }

    /// The `process_*` families, which only a process that lasts has.
    init(_ process: ProcessFigures, startedAt: UTCInstant) {
        set(.processStart, startedAt.fractionalSeconds)
        set(.processMemory, Double(process.residentBytes))
        set(.processFiles, Double(process.openFiles))
        set(.processCPU, process.processorTime.fractionalSeconds)
    }

    // MARK: Events

    private mutating func addSeries(of job: String) {
        for outcome in Outcome.allCases { count(.runs, 0, ["job_name": job, "outcome": outcome.rawValue]) }
        for family in [
            MetricFamily.rowsDeleted, .rowsSkipped, .rowsRefused, .batches, .coalescedFires, .missedFires,
            .passedOverFires, .runDuration, .batchDuration, .startDelay,
        ] { change(family, ["job_name": job]) }
    }

    mutating func record(_ event: ServiceEvent, at now: UTCInstant) {
        switch event {
        case .started(let armed), .reloaded(let armed, _): for (job, _) in armed { addSeries(of: job.name) }
        case .attemptStarted(let job, let scheduledAt, .schedule, number: 1):
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

    mutating func count(_ family: MetricFamily, _ amount: Int, _ labels: Labels = [:]) {
        change(family, labels) { $0[0] += Double(amount) }
    }

    private mutating func observe(_ family: MetricFamily, _ duration: Duration, _ labels: Labels = [:]) {
        // A clock that is set back makes durations negative.
        let seconds = max(duration, .zero).fractionalSeconds
        let bounds = family.bounds + [.infinity]
        change(family, labels) { values in
            for (index, bound) in bounds.enumerated() where seconds <= bound { values[index] += 1 }
            values[bounds.count] += seconds
            values[bounds.count + 1] += 1
        }
    }

    private mutating func change(
        _ family: MetricFamily, _ labels: Labels = [:], by change: (inout [Double]) -> Void = { _ in }
    ) {
        let zeros = [Double](repeating: 0, count: Self.names(family, "").count)
        change(&series[family, default: [:]][Self.text(labels), default: zeros])
    }

    // MARK: Gauges

    /// The counters and histograms, with the gauges of the state.
    func with(_ state: ServiceState) -> Metrics {
        var all = self
        for job in state.jobs {
            let labels = Self.text(["job_name": job.job.name])
            all.set(.runInProgress, job.underWay != nil && !job.isHeldElsewhere ? 1 : 0, labels)
            all.set(.lastRun, job.lastEnd?.wall.fractionalSeconds, labels)
            all.set(.lastSuccess, job.lastSuccess?.wall.fractionalSeconds, labels)
            all.set(.nextFire, job.nextFireTime?.fractionalSeconds, labels)
            all.set(.interval, job.interval.fractionalSeconds, labels)
            all.set(.deadline, job.job.deadline.fractionalSeconds, labels)
            all.set(.successBudget, job.budget.fractionalSeconds, labels)
            // Zero for a job of the operator's own, whose condition does not tell since when a row is due.
            all.set(.oldestOverdue, job.lastLook.map { $0.oldestOverdue?.fractionalSeconds ?? 0 }, labels)
        }
        all.set(.clockSkew, state.clockSkew?.fractionalSeconds)
        all.set(.reloadSuccessful, state.failedReload == nil ? 1 : 0)
        all.set(.lastReload, state.configuredAt.fractionalSeconds)
        all.set(.buildInfo, 1, Self.text(["version": state.version]))
        return all
    }

    private mutating func set(_ family: MetricFamily, _ value: Double?, _ labels: String = "") {
        series[family, default: [:]][labels] = value.map { [$0] } ?? []
    }

    // MARK: Text

    /// Prometheus' text format, version 0.0.4: family by family, each with its help and type.
    package var text: String {
        var text = ""
        // Enough for both built-in jobs and one of the operator's own.
        text.reserveCapacity(32_768)
        for family in MetricFamily.allCases {
            guard let list = series[family] else { continue }
            text += "# HELP \(family.rawValue)\n# TYPE \(family.name) \(family.kind)\n"
            for (labels, values) in list.sorted(by: { $0.key < $1.key }) {
                for (name, value) in zip(Self.names(family, labels), values.isEmpty ? [0] : values) {
                    text += "\(name) \(Self.number(value))\n"
                }
            }
        }
        return text
    }

    /// The names, with their labels, of a series' values.
    private static func names(_ family: MetricFamily, _ labels: String) -> [String] {
        let name = family.name
        guard family.kind == "histogram" else { return [name + labels] }
        let start = labels.isEmpty ? "{" : "\(labels.dropLast()),"
        let buckets = (family.bounds.map(number) + ["+Inf"]).map { "\(name)_bucket\(start)le=\"\($0)\"}" }
        return buckets + ["\(name)_sum\(labels)", "\(name)_count\(labels)"]
    }

    private static func number(_ value: Double) -> String {
        // Whole numbers below 2^53, all of which a Double represents exactly.
        Int(exactly: value).flatMap { $0.magnitude < 1 << 53 ? "\($0)" : nil } ?? "\(value)"
    }

    /// The labels as in the text; empty for none.
    private static func text(_ labels: Labels) -> String {
        let pairs = labels.map { name, value in
            "\(name)=\"\(value.visible.replacing("\\", with: "\\\\").replacing("\"", with: "\\\""))\""
        }
        return pairs.isEmpty ? "" : "{\(pairs.joined(separator: ","))}"
    }

    /// Adds the values that another process's text has for the same series, so that counters and histograms continue
    /// from process to process.
    ///
    /// A gauge takes the text's value if this process knows none; of times of last events, the later one counts. Lines
    /// that are not understood are passed over: Prometheus copes with a counter that starts at zero.
    ///
    /// - Parameter now: a last time that is later comes from a clock that ran ahead, and is passed over.
    package mutating func merge(_ text: String, at now: UTCInstant) {
        var others: [String: Double] = [:]
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            guard let blank = line.lastIndex(of: " "), let value = Double(line[line.index(after: blank)...]),
                value.isFinite
            else { continue }
            others[String(line[..<blank])] = value
        }
        for (family, list) in series {
            for (labels, ours) in list {
                let names = Self.names(family, labels)
                let theirs = names.compactMap { others[$0] }
                guard theirs.count == names.count else { continue }
                if family.kind == "gauge" {
                    let isLater = theirs[0] > ours.first ?? 0 && theirs[0] <= now.fractionalSeconds
                    if ours.isEmpty || family.isLastTime && isLater { series[family]?[labels] = theirs }
                } else if zip(theirs.dropLast(2), theirs.dropLast(2).dropFirst()).allSatisfy({ $0 <= $1 }) {
                    // Counts grow from bucket to bucket; where they do not, the text has other buckets.
                    series[family]?[labels] = zip(ours, theirs).map(+)
                }
            }
        }
    }
}

/// Why a connection could not be opened, as a label: `PostgresError.Unreachability`, and a server's answers.
enum ConnectFailureCause: String, CaseIterable {
    case unresolved, refused, noRoute = "no_route", silent, tls, broken
    /// The server turned the role or its password down.
    case authentication
    /// The server is starting, stopping or full, or a pooler has no connection to it.
    case unavailable
    /// The configuration is wrong, most often the URL.
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
