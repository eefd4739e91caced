package import CleanupDaemon
import CleanupSchedule
import SessionCleanup
import Time

/// The page for a person in a hurry, as HTML: one response, nothing from elsewhere, complete without its script.
package struct StatusPage: Sendable {
    package let html: String
    /// The page's own style and script, told apart from anything that got in by a number that nobody can guess.
    package let contentPolicy: String

    /// - Parameter nonce: fresh for each response.
    package init(_ state: ServiceState, at now: Scheduler.Now, version: String, nonce: String = Self.makeNonce()) {
        contentPolicy =
            "default-src 'none'; style-src 'nonce-\(nonce)'; script-src 'nonce-\(nonce)'; img-src data:; base-uri 'none'; "
            + "form-action 'none'; frame-ancestors 'none'"
        let obstacles = state.obstacles(at: now)
        let summary = Self.summary(state, obstacles, now)
        let cards = state.jobs.map { JobCard($0, at: now).html }.joined()
        html = """
            <!doctype html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <title>\(summary.title) · mcp-cleanupd</title>
            <link rel="icon" href="data:,">
            <style nonce="\(nonce)">\(PageAssets.style)</style>
            </head>
            <body>
            <header>
            <h1>mcp-cleanupd</h1>
            <p class="summary \(summary.kind)" role="status">\(summary.text)</p>
            </header>
            <main>
            \(Self.reloadProblem(state))\(cards)
            </main>
            <footer>
            <p>Version \(version.escapedForHTML). Running for \((now.elapsed - state.startedAt.elapsed).inWords).
            As of <time datetime="\(now.wall)" id="now">\(now.wall.toTheSecond)</time>; <a href="/">look again</a>.
            For machines: <a href="/metrics">metrics</a>, <a href="/livez">livez</a>, <a href="/readyz">readyz</a>.
            Times are UTC. This page never asks the database.</p>
            </footer>
            <script nonce="\(nonce)">\(PageAssets.script)</script>
            </body>
            </html>

            """
    }

    private static func reloadProblem(_ state: ServiceState) -> String {
        guard let why = state.reloadFailure else { return "" }
        return """
            <section class="problem">
            <p><strong>The configuration file is wrong, and the one before it stays in force:</strong></p>
            <pre>\(why.escapedForHTML)</pre>
            <p><strong>What to do:</strong> correct it, check it with <code>mcp-cleanupd config</code>, and reload.</p>
            </section>

            """
    }

    private static func summary(
        _ state: ServiceState, _ obstacles: [String], _ now: Scheduler.Now
    ) -> (title: String, kind: String, text: String) {
        if state.isStopping { return ("Stopping", "waiting", "Stopping: no run starts any more.") }
        let conditions = state.jobs.map { $0.condition(at: now) }
        if conditions.contains(.overdue) { return ("Not ready", "overdue", "Sessions are not being removed in time.") }
        if conditions.contains(.failing) {
            return ("Failing", "failing", "The last run failed; there is still time to try again.")
        }
        if conditions.contains(where: { $0 == .healthy || $0 == .running }) {
            return ("Ready", "healthy", "Expired sessions are being removed.")
        }
        return ("Waiting", "waiting", "Waiting for the first fire time.")
    }

    /// 128 bits, as hexadecimal digits.
    package static func makeNonce() -> String {
        (0..<2).map { _ in String(UInt64.random(in: 1 << 60...UInt64.max), radix: 16) }.joined()
    }
}

/// One job's part of the page.
private struct JobCard {
    private let state: JobState
    private let now: Scheduler.Now
    private let condition: JobState.Condition

    init(_ state: JobState, at now: Scheduler.Now) {
        self.state = state
        self.now = now
        condition = state.condition(at: now)
    }

    private var job: Job { state.job }
    private var id: String { "job-\(job.name)".escapedForHTML }

    var html: String {
        """
        <section class="job \(condition.rawValue)" aria-labelledby="\(id)">
        <h2 id="\(id)"><span class="badge">\(condition.rawValue)</span> \(job.name.escapedForHTML)</h2>
        \(problem)
        <dl>
        \(facts.map { "<div><dt>\($0.0)</dt><dd>\($0.1)</dd></div>" }.joined(separator: "\n"))
        </dl>
        \(state.recent.isEmpty ? #"<p class="quiet">No run of this process yet.</p>"# : bars + table)
        </section>

        """
    }

    private var problem: String {
        guard let failure = state.failure, job.isEnabled else { return "" }
        let hint = failure.hint.map { "<p><strong>What to do:</strong> \($0.escapedForHTML)</p>" } ?? ""
        let retry = state.retryAt.map {
            "<p>The next attempt is in \(max($0 - now.elapsed, .zero).inWords).</p>"
        }
        return """
            <div class="problem">
            <p><strong>What is wrong:</strong> \("\(failure)".escapedForHTML)</p>
            \(hint)\(retry ?? "")
            </div>
            """
    }

    private var facts: [(String, String)] {
        var facts: [(String, String)] = []
        if let next = state.nextFireTime {
            let left = "<span data-until=\"\(next)\">in \((next - now.wall).inWords)</span>"
            facts.append(("Next fire time", "\(left) <small>\(next.time)</small>"))
        }
        facts.append(("Schedule", "<code>\(job.schedule.expression.escapedForHTML)</code> \(zone)"))
        if let underWay = state.underWay {
            let attempt = underWay.attempt > 1 ? ", attempt \(underWay.attempt)" : ""
            let time = (now.elapsed - underWay.startedAt).inWords
            facts.append(
                state.isHeldElsewhere ? ("Running elsewhere", "for \(time)") : ("Running for", "\(time)\(attempt)"))
        }
        let success = state.lastSuccess.map {
            "\((now.elapsed - $0.elapsed).inWords) ago <small>\($0.at.toTheSecond.time)</small>"
        }
        facts.append(("Last success", success ?? "none known"))
        if let last = state.recent.last(where: { $0.report.cutoff != nil })?.report {
            facts.append(
                ("Oldest due when last looked", last.oldestOverdue.map { "for \($0.inWords)" } ?? "nothing due"))
            facts.append(("Held by others", last.progress.rowsSkipped.groupedText))
        }
        let delays = state.recent.compactMap { $0.origin == .schedule ? $0.startDelay : nil }.sorted()
        if let worst = delays.last {
            facts.append(
                ("Start delay", "\(delays[delays.count / 2].inWords) <small>\(worst.inWords) at most</small>"))
        }
        if state.coalescedFires > 0 { facts.append(("Fire times coalesced", state.coalescedFires.groupedText)) }
        if state.missedFires > 0 { facts.append(("Fire times missed", state.missedFires.groupedText)) }
        return facts
    }

    private var zone: String { (job.timeZone?.name ?? "UTC").escapedForHTML }

    /// Rows deleted by the last runs, the latest at the right; the table says the same in words.
    private var bars: String {
        let runs = state.recent
        let most = runs.map(\.report.progress.rowsDeleted).max() ?? 0
        let (width, height) = (8, 48)
        let left = (JobState.recentLimit - runs.count) * width
        let rects = runs.enumerated().map { index, run in
            // The square root, so that a small run beside a large one is still seen; an empty run is a line.
            let share = most == 0 ? 0 : (Double(run.report.progress.rowsDeleted) / Double(most)).squareRoot()
            // A run that failed is seen however little it did.
            let tall = max(run.report.failure == nil ? 3 : 12, Int(share * Double(height)))
            return
                "<rect class=\"\(run.report.outcome.rawValue)\" x=\"\(left + index * width)\" y=\"\(height - tall)\" "
                + "width=\"\(width - 2)\" height=\"\(tall)\"><title>\(run.inWords.escapedForHTML)</title></rect>"
        }
        let size = "0 0 \(JobState.recentLimit * width) \(height)"
        return """
            <svg viewBox="\(size)" preserveAspectRatio="none" role="img" aria-label="Rows deleted by the last \(runs.count) runs, \(most.groupedText) at most">\
            \(rects.joined())</svg>

            """
    }

    private var table: String {
        let rows = state.recent.reversed().map { run in
            let report = run.report
            let cells = [
                report.scheduledAt.toTheSecond.time, report.outcome.words, report.progress.rowsDeleted.groupedText,
                report.progress.rowsSkipped.groupedText, (report.finishedAt - report.startedAt).inWords,
                run.startDelay?.inWords ?? "",
            ]
            return "<tr class=\"\(report.outcome.rawValue)\"><th scope=\"row\">\(cells[0])</th>"
                + cells.dropFirst().map { "<td>\($0)</td>" }.joined() + "</tr>"
        }
        let heads = ["Fire time", "Outcome", "Deleted", "Skipped", "Took", "Start delay"]
        return """
            <details><summary>The last \(state.recent.count == 1 ? "run" : "\(state.recent.count) runs")</summary>
            <div class="scroll" tabindex="0" role="region" aria-label="Last runs of \(job.name.escapedForHTML)"><table>
            <thead><tr>\(heads.map { "<th scope=\"col\">\($0)</th>" }.joined())</tr></thead>
            <tbody>\(rows.joined(separator: "\n"))</tbody></table></div></details>
            """
    }
}

extension JobState.FinishedRun {
    fileprivate var inWords: String {
        "\(report.scheduledAt.toTheSecond): \(report.outcome.words), \(report.progress.rowsDeleted.groupedText) deleted in "
            + (report.finishedAt - report.startedAt).inWords
    }
}

extension Outcome {
    fileprivate var words: String { self == .timedOut ? "timed out" : rawValue }
}

extension UTCInstant {
    /// As an element that machines can read too.
    fileprivate var time: String { "<time datetime=\"\(self)\">\(self)</time>" }

    fileprivate var toTheSecond: UTCInstant { UTCInstant(secondsSinceEpoch: wholeSecondsSinceEpoch) }
}

extension Int {
    /// For people: `1,234,567`.
    fileprivate var grouped: String {
        var text = ""
        for (index, digit) in String(magnitude).reversed().enumerated() {
            if index > 0, index.isMultiple(of: 3) { text.append(",") }
            text.append(digit)
        }
        return (self < 0 ? "-" : "") + text.reversed()
    }
}

extension String {
    /// Safe as an element's text and as an attribute's value in double quotes.
    package var escapedForHTML: String {
        var text = ""
        for scalar in unicodeScalars {
            switch scalar {
            case "&": text += "&amp;"
            case "<": text += "&lt;"
            case ">": text += "&gt;"
            case "\"": text += "&quot;"
            case "'": text += "&#39;"
            // HTML has no name for other control characters.
            case "\n", "\t": text.unicodeScalars.append(scalar)
            default: text.unicodeScalars.append(scalar.properties.generalCategory == .control ? "\u{FFFD}" : scalar)
            }
        }
        return text
    }
}
