import CleanupDaemon
import SessionCleanup
import Time

/// The page for people, as HTML: one response that needs nothing from elsewhere and is complete without its script.
struct StatusPage {
    private let state: ServiceState
    private let now: TwoClocks
    /// Fresh for each response: nothing else on the page can know it.
    private let nonce: String

    /// - Parameter nonce: 128 bits, as hexadecimal digits.
    init(
        _ state: ServiceState, at now: TwoClocks,
        nonce: String = (0..<2).map { _ in String(UInt64.random(in: 1 << 60...UInt64.max), radix: 16) }.joined()
    ) {
        self.state = state
        self.now = now
        self.nonce = nonce
    }

    /// Allows the page's own style and script.
    var contentPolicy: String {
        "default-src 'none'; style-src 'nonce-\(nonce)'; script-src 'nonce-\(nonce)'; connect-src 'self'; "
            + "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    }

    var html: String {
        let headline = Headline(state, at: now)
        return """
            <!doctype html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <title>\(headline.title) · mcp-cleanupd on \(state.host.escapedForHTML)</title>
            <link rel="icon" id="icon" href="\(headline.tone.icon)">
            <noscript><meta http-equiv="refresh" content="15"></noscript>
            <style nonce="\(nonce)">\(PageAssets.style)</style>
            </head>
            <body>
            <p id="lost" role="alert" hidden></p>
            <div id="live"><!--live-->
            \(content(headline))
            <!--live--></div>
            <script nonce="\(nonce)">\(PageAssets.script)</script>
            </body>
            </html>

            """
    }

    /// All that changes while the page is open: its script puts a later one in this one's place.
    private func content(_ headline: Headline) -> String {
        let cards = state.jobs.enumerated().map { JobCard($1, index: $0, at: now).html }.joined()
        let database = state.database.map { " from <b>\($0.escapedForHTML)</b>" } ?? ""
        return """
            <header>
            <p class="name"><b>mcp-cleanupd</b> on <b>\(state.host.escapedForHTML)</b> removes expired MCP sessions\(database)</p>
            <h1 class="\(headline.tone.rawValue)" role="status"><span aria-hidden="true">\(headline.tone.sign)</span> \(headline.text)</h1>
            </header>
            \(numbers)
            \(reloadProblem)<main class="jobs">
            \(cards)</main>
            <footer>
            <p>Version \(state.version.escapedForHTML), running since \(state.startedAt.element(at: now)) (\(state.startedAt.ago(at: now))).
            As of <time id="now" datetime="\(now.wall)">\(now.wall.clock)</time>; all times are UTC.
            This page never asks the database. For programs: <a href="/status.json">status.json</a>, <a href="/metrics">metrics</a>,
            <a href="/readyz">readyz</a>, <a href="/livez">livez</a>.</p>
            </footer>
            """
    }

    private var numbers: String {
        let run = state.lastRun
        let last = run.map { run in
            let name = state.jobs.first { $0.job.name == run.report.job }?.job.displayName ?? run.report.job
            let outcome = run.report.isSuccess ? "" : " <b class=bad>\(run.report.outcome.words)</b>"
            return "\(name.escapedForHTML)\(outcome), \(run.report.finishedAt.ago(at: now))"
        }
        let start = now.elapsed < .seconds(86_400) ? ", which began \(state.startedAt.ago(at: now))" : ""
        let day = state.countsAllProcesses ? "by all processes" : "by this process\(start)"
        let overdue = state.jobs.filter { $0.condition(at: now) == .overdue }
        let next = state.jobs.compactMap { job in job.nextFireTime.map { (at: $0, name: job.job.displayName) } }
            .min { $0.at < $1.at }
        let nextRun =
            next.map { "next run \($0.at.until(at: now)): \($0.name.escapedForHTML)" } ?? "no run is scheduled"
        let numbers = [
            (
                "Removed in the last run", run?.report.progress.rowsDeleted.groupedText ?? "–",
                last ?? "no run is known yet", ""
            ),
            ("Removed in the last 24 hours", state.rowsDeletedInLastDay(at: now).groupedText, day, ""),
            (
                "Jobs overdue", "\(overdue.count) of \(state.jobs.count)", state.isStopping ? "stopping" : nextRun,
                overdue.isEmpty ? "" : "bad"
            ),
        ]
        let list = numbers.map { name, value, note, tone in
            "<div><dt>\(name)</dt><dd class=\"\(tone)\">\(value)</dd><dd class=\"note\">\(note)</dd></div>\n"
        }.joined()
        return "<dl class=\"numbers\">\n\(list)</dl>"
    }

    private var reloadProblem: String {
        guard let reload = state.failedReload else { return "" }
        return """
            <section class="problem">
            <p><strong>Reload failed</strong> \(reload.at.ago(at: now)): invalid configuration; keeping the previous one.</p>
            <pre>\(reload.why.escapedForHTML)</pre>
            <p><strong>What to do:</strong> correct the file, check it with <code>mcp-cleanupd config</code>, reload.</p>
            <p>\(Runbook.link(to: Runbook.failedReload))</p>
            </section>

            """
    }
}

/// The service's state in a sentence, which names the jobs that it is about.
private struct Headline {
    let title: String
    let tone: Tone
    /// As HTML.
    let text: String

    init(_ state: ServiceState, at now: TwoClocks) {
        let jobs = Dictionary(grouping: state.jobs) { $0.condition(at: now) }
        if state.isStopping {
            (title, tone, text) = ("Stopping", .idle, "Stopping: no run begins any more")
        } else if let overdue = jobs[.overdue] {
            let rows = overdue.contains { $0.job.table == nil } ? "expired sessions" : "rows that are due"
            (title, tone) = ("Overdue", .bad)
            text = "\(Self.subject(overdue, of: state.jobs)) overdue: \(rows) stay in the table"
        } else if let failing = jobs[.failing] {
            let which = failing.count > 1 ? "the first is " : ""
            let limit = failing.compactMap(\.overdueAt).min()
            let rest = limit.map { "; \(which)overdue at \($0.clock(at: now)) unless it succeeds" } ?? ""
            (title, tone) = ("Failing", .warn)
            text = "\(Self.subject(failing, of: state.jobs)) failing\(rest)"
        } else if jobs[.healthy] != nil || jobs[.running] != nil {
            (title, tone, text) = ("Healthy", .good, "Expired sessions are removed on time")
        } else if jobs[.waiting] != nil {
            (title, tone, text) = ("Waiting", .idle, "Waiting for the first run")
        } else {
            (title, tone, text) = ("Disabled", .idle, "Every job is disabled")
        }
    }

    /// `transient is`, `transient and dormant are`, `3 of 8 jobs are`.
    private static func subject(_ jobs: [JobState], of all: [JobState]) -> String {
        let names = jobs.map(\.job.displayName.escapedForHTML)
        if names.count > 2 { return "\(names.count) of \(all.count) jobs are" }
        return "\(names.joined(separator: " and ")) \(names.count == 1 ? "is" : "are")"
    }
}

/// How good a state is: a color and, since colors are not seen by all, a sign.
enum Tone: String {
    case good, warn, bad, busy, idle

    init(_ condition: JobState.Condition) {
        switch condition {
        case .healthy: self = .good
        case .failing: self = .warn
        case .overdue: self = .bad
        case .running: self = .busy
        case .waiting, .disabled: self = .idle
        }
    }

    var sign: String {
        switch self {
        case .good: "✓"
        case .warn: "▲"
        case .bad: "✖"
        case .busy: "▶"
        case .idle: "○"
        }
    }

    /// The page's icon, as a data: URL: a check mark, a triangle, a cross or a ring.
    var icon: String {
        let (color, path) =
            switch self {
            case .good, .busy: ("1a7f37", "M4 8.5l3 3 5-6")
            case .warn: ("b26a00", "M8 4v5M8 11v1")
            case .bad: ("b42318", "M5 5l6 6M11 5l-6 6")
            case .idle: ("59636e", "M4 8h8")
            }
        return "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
            + "%3Ccircle cx='8' cy='8' r='8' fill='%23\(color)'/%3E%3Cpath d='\(path)' fill='none' stroke='%23fff' "
            + "stroke-width='2'/%3E%3C/svg%3E"
    }
}
