package import CleanupDaemon
import CleanupSchedule
import SessionCleanup
package import Time

/// All series at an instant, as Prometheus' text format, version 0.0.4.
package struct MetricsSnapshot: Sendable {
    private struct Sample {
        /// The part of the name behind the family's: `_sum`, or nothing.
        var suffix = ""
        var labels = ""
        var value: Double
        /// False for a gauge of which this process knows nothing: it reads zero.
        var isKnown = true
    }

    private var samples: [MetricFamily: [Sample]] = [:]

    /// - Parameter process: `nil` leaves out the families about the process, of which only a lasting one has any.
    package init(_ state: ServiceState, _ counts: RunCounts, at now: Scheduler.Now, process: ProcessFigures?) {
        for (family, series) in counts.counters {
            samples[family] = series.sorted { $0.key < $1.key }.map { Sample(labels: $0.key, value: Double($0.value)) }
        }
        for (family, series) in counts.histograms {
            samples[family] = series.sorted { $0.key < $1.key }.flatMap { Self.samples(of: $0.value, family, $0.key) }
        }
        for job in state.jobs {
            let labels = RunCounts.labels(job.job.name)
            for (family, value) in Self.gauges(of: job) {
                samples[family, default: []].append(Sample(labels: labels, value: value ?? 0, isKnown: value != nil))
            }
        }
        for (family, value) in Self.gauges(of: state) {
            samples[family] = [Sample(value: value ?? 0, isKnown: value != nil)]
        }
        samples[.buildInfo] = [Sample(labels: "{\(RunCounts.pair("version", state.version))}", value: 1)]
        guard let process else { return }
        samples[.processStart] = [Sample(value: state.startedAt.wall.fractionalSeconds)]
        samples[.processMemory] = [Sample(value: Double(process.residentBytes))]
        samples[.processFiles] = [Sample(value: Double(process.openFiles))]
        samples[.processCPU] = [Sample(value: process.processorTime.fractionalSeconds)]
    }

    private static func gauges(of job: JobState) -> [(MetricFamily, Double?)] {
        let isRunning = job.underWay != nil && !job.isHeldElsewhere
        // Zero for a job of the operator's own, whose condition does not tell since when a row is due.
        let overdue = job.lastLook.map { $0.oldestOverdue?.fractionalSeconds ?? 0 }
        return [
            (.runInProgress, isRunning ? 1 : 0), (.lastRun, job.lastEnd?.at.fractionalSeconds),
            (.lastSuccess, job.lastSuccess?.moment.at.fractionalSeconds),
            (.nextFire, job.nextFireTime?.fractionalSeconds), (.interval, job.interval.fractionalSeconds),
            (.deadline, job.job.deadline.fractionalSeconds), (.successBudget, job.budget.fractionalSeconds),
            (.oldestOverdue, overdue),
        ]
    }

    private static func gauges(of state: ServiceState) -> [(MetricFamily, Double?)] {
        [
            (.clockSkew, state.clockSkew?.fractionalSeconds), (.reloadSuccessful, state.failedReload == nil ? 1 : 0),
            (.lastReload, state.configuredAt.fractionalSeconds),
        ]
    }

    private static func samples(
        of histogram: RunCounts.Histogram, _ family: MetricFamily, _ labels: String
    ) -> [Sample] {
        guard case .histogram(let bounds) = family.kind else { return [] }
        let start = labels.isEmpty ? "{" : "\(labels.dropLast()),"
        var count = 0
        var samples = zip(bounds.map(number) + ["+Inf"], histogram.buckets).map { bound, observations in
            count += observations
            return Sample(suffix: "_bucket", labels: "\(start)le=\"\(bound)\"}", value: Double(count))
        }
        samples.append(Sample(suffix: "_sum", labels: labels, value: histogram.sum))
        samples.append(Sample(suffix: "_count", labels: labels, value: Double(count)))
        return samples
    }

    // MARK: Text

    /// Bytes, with both built-in jobs and one of the operator's own.
    private static let usualSize = 32_768

    /// Family by family, each with its help and type.
    package var text: String {
        var text = ""
        text.reserveCapacity(Self.usualSize)
        for family in MetricFamily.allCases {
            guard let samples = samples[family] else { continue }
            text += "# HELP \(family.rawValue) \(family.help)\n# TYPE \(family.rawValue) \(family.kind.word)\n"
            for sample in samples {
                text += "\(family.rawValue)\(sample.suffix)\(sample.labels) \(Self.number(sample.value))\n"
            }
        }
        return text
    }

    private static func number(_ value: Double) -> String {
        // Whole numbers up to where a Double has them all.
        Int(exactly: value).flatMap { $0.magnitude < 1 << 53 ? "\($0)" : nil } ?? "\(value)"
    }

    // MARK: Another process's text

    /// Adds what another process's text says of the same series, so that counters and histograms continue from process to process.
    ///
    /// A gauge takes the text's value where this process knows none; of times when something happened last, the later one
    /// counts. Lines that are not understood are passed over: Prometheus copes with a counter that starts at zero.
    ///
    /// - Parameter now: a last time that is later comes from a clock that ran ahead, and is passed over.
    package mutating func merge(_ text: String, at now: UTCInstant) {
        var values: [Substring: Double] = [:]
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            guard let blank = line.lastIndex(of: " "), let value = Double(line[line.index(after: blank)...]),
                value.isFinite
            else { continue }
            values[line[..<blank]] = value
        }
        for (family, list) in samples {
            let known = list.map { values["\(family.rawValue)\($0.suffix)\($0.labels)"] }
            if case .histogram(let bounds) = family.kind {
                samples[family] = Self.merged(list, known, inGroupsOf: bounds.count + 3)
                continue
            }
            for (index, value) in known.enumerated() {
                guard let value else { continue }
                let ours = list[index].value
                let isLater = family.isLastTime && value > ours && value <= now.fractionalSeconds
                switch family.kind {
                case .counter: samples[family]?[index].value += value
                default: if !list[index].isKnown || isLater { samples[family]?[index].value = value }
                }
            }
        }
    }

    /// - Parameter length: of one histogram's samples: its buckets, sum and count.
    private static func merged(_ ours: [Sample], _ theirs: [Double?], inGroupsOf length: Int) -> [Sample] {
        var merged = ours
        for start in stride(from: 0, to: ours.count, by: length) {
            let group = theirs[start..<(start + length)].compactMap(\.self)
            // Counts grow from bucket to bucket; where they do not, or are not all there, the text has other buckets.
            let counts = group.dropLast(2)
            guard group.count == length, zip(counts, counts.dropFirst()).allSatisfy({ $0 <= $1 }) else { continue }
            for (index, value) in group.enumerated() { merged[start + index].value += value }
        }
        return merged
    }
}

extension MetricFamily.Kind {
    fileprivate var word: String {
        switch self {
        case .counter: "counter"
        case .gauge: "gauge"
        case .histogram: "histogram"
        }
    }
}
