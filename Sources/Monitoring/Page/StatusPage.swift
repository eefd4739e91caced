import CleanupDaemon
import SessionCleanup
import Time

/// The page for people, as HTML: one response that needs nothing from elsewhere and is complete without its script.
struct StatusPage {
    let state: ServiceState
    let now: TwoClocks
    /// 128 bits, fresh for each response: nothing else on the page can know it.
    var nonce = (0..<2).map { _ in String(UInt64.random(in: 1 << 60...UInt64.max), radix: 16) }.joined()

    /// Allows the page's own style and script.
    var contentPolicy: String {
        "default-src 'none'; style-src 'nonce-\(nonce)'; script-src 'nonce-\(nonce)'; connect-src 'self'; "
            + "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    }

    /// Text has a contrast of 4.5:1 or more with what it stands on, in both schemes.
    private static let style = text(PackageResources.page_css)
    /// Updates relative times each second, by the server's clock, and the content every 15 seconds; reports when no
    /// answer comes. Unfolded sections and the focus are kept; while text is selected so is the content, for a minute.
    private static let script = text(PackageResources.page_js)

    /// The text of a file, without its indentation.
    private static func text(_ file: [UInt8]) -> String {
        String(decoding: file, as: UTF8.self).split(separator: "\n").map { $0.drop { $0 == " " } }.joined(
            separator: "\n")
    }

    var html: String {
        let headline = headline
        return """
            <!doctype html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <title>\(headline.title) · mcp-cleanupd on \(state.host.escapedForHTML)</title>
            <link rel="icon" id="icon" href="\(headline.tone.icon)">
            <noscript><meta http-equiv="refresh" content="15"></noscript>
            <style nonce="\(nonce)">\(Self.style)</style>
            </head>
            <body>
            <p id="lost" role="alert" hidden></p>
            <div id="live"><!--live-->
            \(content)
            <!--live--></div>
            <script nonce="\(nonce)">\(Self.script)</script>
            </body>
            </html>

            """
    }

    /// The service's state in a sentence, which names the jobs that it is about, as HTML.
    private var headline: (title: String, tone: Tone, text: String) {
        let jobs = Dictionary(grouping: state.jobs) { $0.condition(at: now) }
        if state.isStopping { return ("Stopping", .idle, "Stopping: no run begins any more") }
        if let overdue = jobs[.overdue] {
            let rows = overdue.contains { $0.job.table == nil } ? "expired sessions" : "rows that are due"
            return ("Overdue", .bad, "\(subject(overdue)) overdue: \(rows) stay in the table")
        }
        if let failing = jobs[.failing] {
            let which = failing.count > 1 ? "the first is " : ""
            let limit = failing.compactMap(\.overdueAt).min()
            let rest = limit.map { "; \(which)overdue at \($0.clock(at: now)) unless it succeeds" } ?? ""
            return ("Failing", .warn, "\(subject(failing)) failing\(rest)")
        }
        if jobs[.healthy] != nil || jobs[.running] != nil {
            return ("Healthy", .good, "Expired sessions are removed on time")
        }
        if jobs[.waiting] != nil { return ("Waiting", .idle, "Waiting for the first run") }
        return ("Disabled", .idle, "Every job is disabled")
    }

    /// `transient is`, `transient and dormant are`, `3 of 8 jobs are`.
    private func subject(_ jobs: [JobState]) -> String {
        let names = jobs.map(\.job.displayName.escapedForHTML)
        if names.count > 2 { return "\(names.count) of \(state.jobs.count) jobs are" }
        return "\(names.joined(separator: " and ")) \(names.count == 1 ? "is" : "are")"
    }

    /// All that changes while the page is open: the script replaces it by that of a later response.
    private var content: String {
        let headline = headline
        let cards = state.jobs.enumerated().map { JobCard(state: $1, id: "j\($0)", now: now).html }.joined()
        let database = state.database.map { " from <b>\($0.escapedForHTML)</b>" } ?? ""
        return """
            <header>
            <p class="name"><b>mcp-cleanupd</b> on <b>\(state.host.escapedForHTML)</b> removes expired MCP sessions\(database)</p>
            <h1 class="\(headline.tone.name)" role="status">\(headline.tone.sign) \(headline.text)</h1>
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
        let overdue = state.jobs.count { $0.condition(at: now) == .overdue }
        let next = state.jobs.compactMap { job in job.nextFireTime.map { (at: $0, name: job.job.displayName) } }
            .min { $0.at < $1.at }
        let nextRun = next.map { "next run \($0.at.until(at: now)): \($0.name.escapedForHTML)" }
        func number(_ name: String, _ value: String, _ note: String, _ tone: String = "") -> String {
            "<div><dt>\(name)</dt><dd class=\"\(tone)\">\(value)</dd><dd class=\"note\">\(note)</dd></div>\n"
        }
        let rows = run?.report.progress.rowsDeleted.groupedText ?? "–"
        let jobs = "\(overdue) of \(state.jobs.count)"
        return "<dl class=\"numbers\">\n" + number("Removed in the last run", rows, last ?? "no run is known yet")
            + number("Removed in the last 24 hours", state.rowsDeletedInLastDay(at: now).groupedText, day)
            + number(
                "Jobs overdue", jobs, state.isStopping ? "stopping" : nextRun ?? "no run is scheduled",
                overdue == 0 ? "" : "bad") + "</dl>"
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

/// The rank of a state: a color and, since colors are not seen by all, a sign.
struct Tone {
    /// The CSS class of elements in this tone.
    let name: String
    /// The sign as HTML.
    let sign: String
    /// The page's icon, as a data: URL.
    let icon: String

    static let good = Tone("good", "✓", "1a7f37", "M4 8.5l3 3 5-6")
    static let warn = Tone("warn", "▲", "b26a00", "M8 4v5M8 11v1")
    static let bad = Tone("bad", "✖", "b42318", "M5 5l6 6M11 5l-6 6")
    static let busy = Tone("busy", "▶", "1a7f37", "M4 8.5l3 3 5-6")
    static let idle = Tone("idle", "○", "59636e", "M4 8h8")

    private init(_ name: String, _ sign: String, _ color: String, _ path: String) {
        self.name = name
        self.sign = "<span aria-hidden=\"true\">\(sign)</span>"
        icon =
            "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
            + "%3Ccircle cx='8' cy='8' r='8' fill='%23\(color)'/%3E%3Cpath d='\(path)' fill='none' stroke='%23fff' "
            + "stroke-width='2'/%3E%3C/svg%3E"
    }
}

extension JobState.Condition {
    var tone: Tone {
        switch self {
        case .healthy: .good
        case .failing: .warn
        case .overdue: .bad
        case .running: .busy
        case .waiting, .disabled: .idle
        }
    }
}
