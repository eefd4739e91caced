import CleanupDaemon
import CleanupSchedule
import SessionCleanup
import Time

/// One job's part of the page: always the same rows in the same places.
struct JobCard {
    private let state: JobState
    private let id: String
    private let now: Scheduler.Now
    private let condition: JobState.Condition

    /// - Parameter index: among the page's jobs; ids are made of it.
    init(_ state: JobState, index: Int, at now: Scheduler.Now) {
        self.state = state
        id = "j\(index)"
        self.now = now
        condition = state.condition(at: now)
    }

    private var job: Job { state.job }
    /// When this process began.
    private var startedAt: UTCInstant { now.wall - now.elapsed }
    private var tone: Tone { Tone(condition) }

    var html: String {
        let full = job.shortName == nil ? "" : " <small>\(job.name.escapedForHTML)</small>"
        return """
            <section class="job \(tone.rawValue)" aria-labelledby="\(id)">
            <h2 id="\(id)">\(job.displayName.escapedForHTML)\(full)</h2>
            \(list(facts))
            \(problem)\(RunChart(state.recent, at: now).html)
            \(runs)\(more)</section>

            """
    }

    // MARK: Rows

    private var facts: [(String, String)] {
        [
            (
                "State",
                "<b class=\"\(tone.rawValue)\"><span aria-hidden=\"true\">\(tone.sign)</span> \(stateInWords)</b>"
            ),
            ("Last run", lastRunInWords), ("Removed", removedInWords),
            ("Took", state.lastRun.map { Self.took($0) } ?? "–"),
            ("Next run", state.nextFireTime.map { "\($0.element(at: now)) \(small($0.until(at: now)))" } ?? "none"),
            ("Oldest expired session", oldestInWords),
        ]
    }

    /// Rows of a name and a value; HTML closes their elements by itself.
    private func list(_ rows: [(String, String)]) -> String {
        "<dl class=\"facts\">\(rows.map { "<dt>\($0.0)<dd>\($0.1)" }.joined(separator: "\n"))</dl>"
    }

    private func small(_ html: String) -> String { "<small>\(html)</small>" }

    private var stateInWords: String {
        guard let underWay = state.underWay else { return condition.rawValue }
        let time = underWay.startedAt.wall.since(at: now)
        if state.isHeldElsewhere { return "\(condition.rawValue); another process runs it" }
        if state.retryAt != nil { return condition.rawValue }
        let attempt = underWay.attempt > 1 ? ", attempt \(underWay.attempt)" : ""
        let word = condition == .running ? "running" : "\(condition.rawValue); running"
        return "\(word) for \(time)\(attempt), \(underWay.rowsDeleted.groupedText) removed"
    }

    private var lastRunInWords: String {
        if let run = state.lastRun, state.lastEnd.map({ $0.at <= run.report.finishedAt }) ?? true {
            let end = run.report.finishedAt
            let whose = run.isOurs ? "" : ", \(end < startedAt ? "before this process began" : "in another process")"
            return "\(end.element(at: now)) \(small("\(end.ago(at: now)), \(run.report.outcome.words)\(whose)"))"
        }
        guard let end = state.lastEnd else { return "none known" }
        let whose = end.elapsed < .zero ? "before this process began" : "in another process"
        return "\(end.at.element(at: now)) \(small("\(end.at.ago(at: now)), \(whose)"))"
    }

    /// To a millisecond below ten seconds: most runs take less.
    private static func took(_ run: JobState.FinishedRun) -> String {
        let duration = run.report.finishedAt - run.report.startedAt
        return duration < .seconds(10) ? duration.secondsText : duration.inWords
    }

    private var removedInWords: String {
        guard let progress = state.lastRun?.report.progress else { return "–" }
        var notes: [String] = []
        if progress.rowsSkipped > 0 { notes.append("\(progress.rowsSkipped.groupedText) locked by others") }
        if progress.rowsRefused > 0 { notes.append("\(progress.rowsRefused.groupedText) refused by the database") }
        return progress.rowsDeleted.groupedText + (notes.isEmpty ? "" : " \(small(notes.joined(separator: ", ")))")
    }

    private var oldestInWords: String {
        if job.table != nil { return "not known for a job of your own" }
        guard let look = state.lastLook else {
            return state.lastRun?.isOurs == false ? "not measured by this process" : "not known yet"
        }
        let time = look.cutoff.element(at: now)
        guard let overdue = look.oldestOverdue else { return "none \(small("at \(time)"))" }
        return "\(overdue.inWords) \(small("past its time at \(time)"))"
    }

    // MARK: What is wrong

    private var problem: String {
        guard job.isEnabled else { return "" }
        guard let failing = state.failing else {
            guard condition == .overdue, let obstacle = state.obstacle(at: now) else { return "" }
            return """
                <div class="problem"><p>\(obstacle.escapedForHTML).</p>
                <p>\(Runbook.link(to: "\(Runbook.address)#not-ready"))</p></div>

                """
        }
        let failure = failing.failure
        let attempts = failing.attempts == 1 ? "1 attempt" : "\(failing.attempts.groupedText) attempts"
        let retry = state.isHeldElsewhere ? nil : state.retryAt.map { " Next attempt \($0.wall.until(at: now))." }
        let hint = failure.hint.map { "<p><strong>What to do:</strong> \($0.escapedForHTML)</p>" } ?? ""
        return """
            <div class="problem">
            <p><strong>Failing since \(failing.since.element(at: now))</strong> (\(failing.since.ago(at: now))), \(attempts).\(retry ?? "")</p>
            <p class="error">\("\(failure)".escapedForHTML)</p>
            \(hint)<p>\(overdue)\(Runbook.link(to: Runbook.section(for: failure)))</p>
            </div>

            """
    }

    private var overdue: String {
        guard let limit = state.overdueAt else { return "" }
        return "\(condition == .overdue ? "Overdue since" : "Overdue at") \(limit.element(at: now)). "
    }

    // MARK: More

    private static let shownRuns = 7

    private var runs: String {
        let runs = state.recent.suffix(Self.shownRuns).reversed()
        guard !runs.isEmpty else { return "" }
        // A phone has room for all columns only without those that say nothing.
        let isSkipped = runs.contains { $0.report.progress.rowsSkipped > 0 }
        let isRefused = runs.contains { $0.report.progress.rowsRefused > 0 }
        let rows = runs.map { run in
            let (report, progress) = (run.report, run.report.progress)
            var cells = [report.outcome.words, progress.rowsDeleted.groupedText]
            if isSkipped { cells.append(progress.rowsSkipped.groupedText) }
            if isRefused { cells.append(progress.rowsRefused.groupedText) }
            cells.append(Self.took(run))
            let outcome = report.isSuccess ? "" : " class=bad"
            return "<tr><th>\(report.scheduledAt.clock(at: now))<td\(outcome)>\(cells[0])"
                + cells.dropFirst().map { "<td>\($0)" }.joined()
        }
        let heads =
            ["Scheduled", "Outcome", "Removed"] + (isSkipped ? ["Skipped"] : []) + (isRefused ? ["Refused"] : []) + [
                "Took"
            ]
        return """
            <details id="\(id)runs"><summary>\(rows.count == 1 ? "The last run" : "The last \(rows.count) runs")</summary>
            <div class="scroll" tabindex="0" role="region" aria-label="Last runs of \(job.displayName.escapedForHTML)"><table>
            <tr>\(heads.map { "<th scope=col>\($0)" }.joined())
            \(rows.joined(separator: "\n"))</table></div></details>

            """
    }

    private var more: String {
        var facts = [
            (
                "Schedule",
                "<code>\(job.schedule.expression.escapedForHTML)</code> \((job.timeZone?.name ?? "UTC").escapedForHTML)"
            ),
            ("Deadline of a run", job.deadline.inWords), ("Overdue without success after", state.budget.inWords),
            ("Removed in 24 hours", state.deletions.total(at: now.elapsed).groupedText),
            (
                "Last success",
                state.lastSuccess.map { "\($0.moment.at.element(at: now)) \(small($0.moment.at.ago(at: now)))" }
                    ?? "none known"
            ),
        ]
        let delays = state.recent.compactMap { $0.origin == .schedule ? $0.startDelay : nil }.sorted()
        if let worst = delays.last {
            facts.append(("Start delay", "\(delays[delays.count / 2].inWords) \(small("\(worst.inWords) at most"))"))
        }
        facts.append(("Scheduled times missed", state.missedFires.groupedText))
        if state.coalescedFires > 0 {
            facts.append(("Scheduled times while running", state.coalescedFires.groupedText))
        }
        return """
            <details id="\(id)more"><summary>Schedule and limits</summary>\(list(facts))</details>

            """
    }
}

extension Outcome {
    var words: String { self == .timedOut ? "timed out" : rawValue }
}
