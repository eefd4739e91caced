package import CoreMetrics
import Synchronization
package import Time

/// Keeps the values behind swift-metrics, and renders them as Prometheus text, version 0.0.4.
///
/// Knows the families of `MetricFamily` and ignores all others. From any thread; nothing here takes longer than copying
/// a few hundred numbers.
package final class PrometheusRegistry: MetricsFactory, Sendable {
    private struct Series {
        /// As in the text: `{job="…"}`, or nothing.
        let labels: String
        var value = 0.0
        /// For a gauge: whether this process said what it is.
        var isRecorded = false
        /// For a histogram: how many observations each bucket has that no smaller one has; `value` is their sum.
        var buckets: [Int]
    }

    /// By family, in the order of their making. Families have a few dozen series at most, as their labels are closed sets.
    private let series = Mutex<[MetricFamily: [Series]]>([:])

    package init() {}

    // MARK: Text

    /// Bytes, with both jobs and one of the operator's own.
    private static let usualSize = 32_768

    /// All series that were made, family by family.
    package var text: String {
        let all = series.withLock(\.self)
        var text = ""
        text.reserveCapacity(Self.usualSize)
        for family in MetricFamily.allCases {
            guard let series = all[family] else { continue }
            text += "# HELP \(family.rawValue) \(family.help)\n# TYPE \(family.rawValue) \(family.kind.word)\n"
            for series in series { Self.render(series, of: family, into: &text) }
        }
        return text
    }

    private static func render(_ series: Series, of family: MetricFamily, into text: inout String) {
        guard case .histogram(let bounds) = family.kind else {
            text += "\(family.rawValue)\(series.labels) \(number(series.value))\n"
            return
        }
        var count = 0
        let start = bucketStart(of: family, series.labels)
        for (bound, observations) in zip(bounds.map(number) + ["+Inf"], series.buckets) {
            count += observations
            text += start
            text += bound
            text += "\"} \(count)\n"
        }
        text += "\(family.rawValue)_sum\(series.labels) \(number(series.value))\n"
        text += "\(family.rawValue)_count\(series.labels) \(count)\n"
    }

    /// A bucket's series up to its bound.
    private static func bucketStart(of family: MetricFamily, _ labels: String) -> String {
        "\(family.rawValue)_bucket\(labels.isEmpty ? "{" : "\(labels.dropLast()),")le=\""
    }

    private static func number(_ value: Double) -> String {
        // Whole numbers up to where a Double has them all.
        Int(exactly: value).flatMap { $0.magnitude < 1 << 53 ? "\($0)" : nil } ?? "\(value)"
    }

    /// Adds what another process's text says of series that exist here, so that counters go on where they were. Gauges
    /// are the text's where this process said nothing of them; of times when something happened last, the later counts.
    /// Lines that are not understood are passed over: a counter that starts at zero is a thing that Prometheus knows.
    ///
    /// - Parameter now: a last time that is later was told by a clock that ran ahead.
    package func merge(_ text: String, at now: UTCInstant) {
        var values: [Substring: Double] = [:]
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            guard let blank = line.lastIndex(of: " "), let value = Double(line[line.index(after: blank)...]),
                value.isFinite
            else { continue }
            values[line[..<blank]] = value
        }
        series.withLock { all in
            for (family, list) in all {
                for index in list.indices { Self.merge(values, into: &all[family]![index], of: family, at: now) }
            }
        }
    }

    private static func merge(
        _ values: [Substring: Double], into series: inout Series, of family: MetricFamily, at now: UTCInstant
    ) {
        let bounds: [Double]
        switch family.kind {
        case .counter:
            series.value += values["\(family.rawValue)\(series.labels)"] ?? 0
            return
        case .gauge:
            guard let value = values["\(family.rawValue)\(series.labels)"] else { return }
            let isLater = family.isLastTime && value > series.value && value <= now.inFractionalSeconds
            if !series.isRecorded || isLater { series.value = value }
            return
        case .histogram(let upper): bounds = upper
        }
        var counts: [Int] = []
        let start = bucketStart(of: family, series.labels)
        for bound in bounds.map(number) + ["+Inf"] {
            let key = "\(start)\(bound)\"}"
            // Counts grow from bucket to bucket; where they do not, these are not ours.
            guard let value = values[key[...]], let count = Int(exactly: value), count >= counts.last ?? 0 else {
                return
            }
            counts.append(count)
        }
        guard let sum = values["\(family.rawValue)_sum\(series.labels)"] else { return }
        series.value += sum
        for (index, (count, smaller)) in zip(counts, [0] + counts).enumerated() {
            series.buckets[index] += count - smaller
        }
    }

    // MARK: swift-metrics

    package func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        handler(label, dimensions) ?? NOOPMetricsHandler.instance
    }

    package func makeRecorder(
        label: String, dimensions: [(String, String)], aggregate: Bool
    ) -> any RecorderHandler {
        handler(label, dimensions) ?? NOOPMetricsHandler.instance
    }

    package func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        handler(label, dimensions) ?? NOOPMetricsHandler.instance
    }

    /// Series stay: a counter that vanishes and comes back would look like a restart.
    package func destroyCounter(_ handler: any CounterHandler) {}
    /// Series stay.
    package func destroyRecorder(_ handler: any RecorderHandler) {}
    /// Series stay.
    package func destroyTimer(_ handler: any TimerHandler) {}

    /// The series of that name and those labels, which is made if there is none yet.
    private func handler(_ name: String, _ dimensions: [(String, String)]) -> Handler? {
        guard let family = MetricFamily(rawValue: name) else { return nil }
        let pairs = dimensions.map { "\($0.0)=\"\(Self.escaped($0.1))\"" }.joined(separator: ",")
        let labels = pairs.isEmpty ? "" : "{\(pairs)}"
        let index = series.withLock { all in
            if let index = all[family]?.firstIndex(where: { $0.labels == labels }) { return index }
            let buckets = if case .histogram(let bounds) = family.kind { bounds.count + 1 } else { 0 }
            all[family, default: []].append(Series(labels: labels, buckets: Array(repeating: 0, count: buckets)))
            return all[family]!.count - 1
        }
        return Handler(registry: self, family: family, index: index)
    }

    private static func escaped(_ value: String) -> String {
        var text = ""
        for character in value {
            switch character {
            case "\\": text += #"\\"#
            case "\"": text += #"\""#
            case "\n": text += #"\n"#
            default: text.append(character)
            }
        }
        return text
    }

    private func update(_ family: MetricFamily, _ index: Int, _ change: (inout Series) -> Void) {
        // Series are never removed, so the index stays right.
        series.withLock { change(&$0[family]![index]) }
    }

    /// One series, as swift-metrics sees it.
    private final class Handler: CounterHandler, RecorderHandler, TimerHandler, Sendable {
        private let registry: PrometheusRegistry
        private let family: MetricFamily
        private let index: Int

        init(registry: PrometheusRegistry, family: MetricFamily, index: Int) {
            self.registry = registry
            self.family = family
            self.index = index
        }

        func increment(by amount: Int64) { registry.update(family, index) { $0.value += Double(amount) } }
        func reset() { registry.update(family, index) { $0.value = 0 } }
        func record(_ value: Int64) { record(Double(value)) }
        func record(_ value: Double) {
            registry.update(family, index) {
                $0.value = value
                $0.isRecorded = true
            }
        }

        func recordNanoseconds(_ duration: Int64) {
            guard case .histogram(let bounds) = family.kind else { return }
            let seconds = Double(duration) / 1e9
            registry.update(family, index) { series in
                series.value += seconds
                series.buckets[bounds.firstIndex { seconds <= $0 } ?? bounds.count] += 1
            }
        }
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
