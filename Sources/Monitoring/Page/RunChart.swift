import CleanupDaemon
import SessionCleanup
import Time

/// The rows removed by each of the last runs, as bars on a linear scale with a time axis. A run that failed has a cross.
struct RunChart {
    /// The oldest first.
    let runs: [JobState.FinishedRun]

    // The drawing's own units: a phone shows one as about a pixel.
    private static let (left, right, top, bottom) = (42, 314, 8, 98)

    /// At least twelve: a chart of fewer runs leaves slots empty, so that its bars are no wider.
    private var slots: Int { max(runs.count, 12) }
    private var most: Int { runs.map(\.report.progress.rowsDeleted).max() ?? 0 }

    var html: String {
        guard !runs.isEmpty else { return "<p class=\"none\">No run is known yet.</p>" }
        let failed = runs.count { !$0.report.isSuccess }
        let which = runs.count == 1 ? "the last run" : "\(most == 0 ? "" : "each of ")the last \(runs.count) runs"
        // Without a bar, the chart alone would not tell runs that removed nothing from no runs.
        let title = "\(most == 0 ? "Nothing removed" : "Removed") by \(which)"
        let marks = marks
        let legend = failed == 0 ? "" : " <span class=\"bad\">✕ failed</span>"
        return """
            <figure><figcaption>\(title)\(legend)</figcaption>
            <svg viewBox="0 0 320 120" role="img" aria-label="\(title): \(most.groupedText) at most, \(failed) failed">
            \(grid)<path class="bars" stroke-width="\(barWidth)" d="\(marks.bars)"/><path class="crosses" d="\(marks.crosses)"/>\(times)</svg></figure>
            """
    }

    /// The least of 2, 5, 10, 20, 50 and so on that no bar exceeds.
    private var scale: Int {
        var scale = 2
        while scale < most { scale = "\(scale)".hasPrefix("2") ? scale / 2 * 5 : scale * 2 }
        return scale
    }

    private var grid: String {
        var lines = [(Self.top, scale), (Self.bottom, 0)]
        if scale.isMultiple(of: 2) { lines.insert(((Self.top + Self.bottom) / 2, scale / 2), at: 1) }
        return lines.map { y, value in
            "<path class=\"line\" d=\"M\(Self.left) \(y)H\(Self.right)\"/>"
                + "<text x=\"\(Self.left - 4)\" y=\"\(y + 3)\" text-anchor=\"end\">\(Self.short(value))</text>"
        }.joined()
    }

    /// `500`, `20k`, `5M`: values of the scale are round.
    private static func short(_ value: Int) -> String {
        if value >= 1_000_000, value.isMultiple(of: 1_000_000) { return "\(value / 1_000_000)M" }
        return value >= 10_000 ? "\(value / 1000)k" : value.groupedText
    }

    /// The left end of a run's slot, in tenths of a unit: with whole units the gaps would differ. The latest is at the right.
    private func tenths(_ index: Int) -> Int {
        10 * Self.left + 10 * (Self.right - Self.left) * (slots - runs.count + index) / slots
    }

    private static func text(_ tenths: Int) -> String { "\(tenths / 10).\(tenths % 10)" }

    private var barWidth: Int { max((Self.right - Self.left) / slots - 2, 3) }

    /// The bars, and the crosses of the runs that failed, as paths.
    private var marks: (bars: String, crosses: String) {
        var marks = (bars: "", crosses: "")
        let (scale, size) = (scale, min(barWidth, 7))
        for (index, run) in runs.enumerated() {
            let (x, rows) = (tenths(index), run.report.progress.rowsDeleted)
            // A run that removed little beside one that removed much is still seen.
            let height = rows == 0 ? 0 : max(rows * (Self.bottom - Self.top) / scale, 1)
            // A line as wide as a bar is half as long to write as a rectangle.
            if height > 0 { marks.bars += "M\(Self.text(x + barWidth * 5)) \(Self.bottom)v-\(height)" }
            guard !run.report.isSuccess else { continue }
            let y = max(Self.bottom - height - size - 3, Self.top - 6)
            marks.crosses += "M\(Self.text(x)) \(y)l\(size) \(size)m0 -\(size)l-\(size) \(size)"
        }
        return marks
    }

    private var times: String {
        let last = runs.count - 1
        // The first beside the last only where both have room.
        var labeled = tenths(last) / 10 - tenths(0) / 10 > 60 ? [0, last] : [last]
        if runs.count > slots / 2 { labeled.append(runs.count / 2) }
        return Set(labeled).sorted().map { index in
            let x = tenths(index) / 10
            var (place, anchor) = x < Self.left + 20 ? (x, "start") : (x + barWidth / 2, "middle")
            if index == last { (place, anchor) = (Self.right, "end") }
            let label = label(runs[index].report.scheduledAt)
            return "<text x=\"\(place)\" y=\"\(Self.bottom + 14)\" text-anchor=\"\(anchor)\">\(label)</text>"
        }.joined()
    }

    /// The day where the runs span more than two, the second where they span less than ten minutes, else the minute.
    private func label(_ time: UTCInstant) -> String {
        let span = runs[runs.count - 1].report.scheduledAt - runs[0].report.scheduledAt
        if span > .seconds(2 * 86_400) { return time.day }
        return runs.count > 1 && span < .seconds(600) ? time.clock : time.minute
    }
}
