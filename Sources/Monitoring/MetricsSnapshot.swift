import CleanupDaemon
import SessionCleanup
package import Time

/// All series at an instant, as Prometheus' text format, version 0.0.4.
package struct MetricsSnapshot: Sendable {
    private struct Series {
        var labels = ""
        /// As `RunCounts` has them; a gauge has one.
        var values: [Double]
        /// False for a gauge of which this process knows nothing: it reads zero.
        var isKnown = true
    }

    private var series: [MetricFamily: [Series]] = [:]

    /// All but the families about the process, of which only a lasting one has any.
    init(_ state: ServiceState, _ counts: RunCounts) {
        for (family, list) in counts.series {
            series[family] = list.sorted { $0.key < $1.key }.map { Series(labels: $0.key, values: $0.value) }
        }
        for job in state.jobs {
            let labels = RunCounts.text(["job_name": job.job.name])
            let isRunning = job.underWay != nil && !job.isHeldElsewhere
            add(.runInProgress, isRunning ? 1 : 0, labels)
            add(.lastRun, job.lastEnd?.wall.fractionalSeconds, labels)
            add(.lastSuccess, job.lastSuccess?.wall.fractionalSeconds, labels)
            add(.nextFire, job.nextFireTime?.fractionalSeconds, labels)
            add(.interval, job.interval.fractionalSeconds, labels)
            add(.deadline, job.job.deadline.fractionalSeconds, labels)
            add(.successBudget, job.budget.fractionalSeconds, labels)
            // Zero for a job of the operator's own, whose condition does not tell since when a row is due.
            add(.oldestOverdue, job.lastLook.map { $0.oldestOverdue?.fractionalSeconds ?? 0 }, labels)
        }
        add(.clockSkew, state.clockSkew?.fractionalSeconds)
        add(.reloadSuccessful, state.failedReload == nil ? 1 : 0)
        add(.lastReload, state.configuredAt.fractionalSeconds)
        add(.buildInfo, 1, RunCounts.text(["version": state.version]))
    }

    init(_ process: ProcessFigures, startedAt: UTCInstant) {
        add(.processStart, startedAt.fractionalSeconds)
        add(.processMemory, Double(process.residentBytes))
        add(.processFiles, Double(process.openFiles))
        add(.processCPU, process.processorTime.fractionalSeconds)
    }

    private mutating func add(_ family: MetricFamily, _ value: Double?, _ labels: String = "") {
        series[family, default: []].append(Series(labels: labels, values: [value ?? 0], isKnown: value != nil))
    }

    /// The names, with their labels, of a series' values.
    private static func names(_ family: MetricFamily, _ labels: String) -> [String] {
        let name = family.rawValue
        guard let bounds = family.bounds else { return [name + labels] }
        let start = labels.isEmpty ? "{" : "\(labels.dropLast()),"
        let buckets = (bounds.map(number) + ["+Inf"]).map { "\(name)_bucket\(start)le=\"\($0)\"}" }
        return buckets + ["\(name)_sum\(labels)", "\(name)_count\(labels)"]
    }

    /// Family by family, each with its help and type.
    package var text: String {
        var text = ""
        // Enough for both built-in jobs and one of the operator's own.
        text.reserveCapacity(32_768)
        for family in MetricFamily.allCases {
            guard let list = series[family] else { continue }
            text += "# HELP \(family.rawValue) \(family.help)\n# TYPE \(family.rawValue) \(family.kind)\n"
            for series in list {
                for (name, value) in zip(Self.names(family, series.labels), series.values) {
                    text += "\(name) \(Self.number(value))\n"
                }
            }
        }
        return text
    }

    private static func number(_ value: Double) -> String {
        // Whole numbers up to where a Double has them all.
        Int(exactly: value).flatMap { $0.magnitude < 1 << 53 ? "\($0)" : nil } ?? "\(value)"
    }

    /// Adds what another process's text says of the same series, so that counters and histograms continue from process to process.
    ///
    /// A gauge takes the text's value where this process knows none; of times when something happened last, the later one
    /// counts. Lines that are not understood are passed over: Prometheus copes with a counter that starts at zero.
    ///
    /// - Parameter now: a last time that is later comes from a clock that ran ahead, and is passed over.
    package mutating func merge(_ text: String, at now: UTCInstant) {
        var values: [String: Double] = [:]
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            guard let blank = line.lastIndex(of: " "), let value = Double(line[line.index(after: blank)...]),
                value.isFinite
            else { continue }
            values[String(line[..<blank])] = value
        }
        for (family, list) in series {
            series[family] = list.map { ours in
                var ours = ours
                let theirs = Self.names(family, ours.labels).compactMap { values[$0] }
                guard theirs.count == ours.values.count else { return ours }
                if family.kind == "gauge" {
                    let isLater = theirs[0] > ours.values[0] && theirs[0] <= now.fractionalSeconds
                    if !ours.isKnown || family.isLastTime && isLater { ours.values = theirs }
                } else if zip(theirs.dropLast(2), theirs.dropLast(2).dropFirst()).allSatisfy({ $0 <= $1 }) {
                    // Counts grow from bucket to bucket; where they do not, the text has other buckets.
                    ours.values = zip(ours.values, theirs).map(+)
                }
                return ours
            }
        }
    }
}
