import CleanupDaemon
import CleanupSchedule
import SessionCleanup
import Time

/// One job's part of the page: always the same rows in the same places.
struct JobCard {
    let state: JobState
    /// The HTML id of the heading, and the prefix of the ids of other elements.
    let id: String
    let now: TwoClocks

    private var condition: JobState.Condition { state.condition(at: now) }
    private var job: Job { state.job }

    var html: String {
        let full = job.shortName == nil ? "" : " <small>\(job.name.escapedForHTML)</small>"
        return """
            <section class="job \(condition.tone.name)" aria-labelledby="\(id)">
            <h2 id="\(id)">\(job.displayName.escapedForHTML)\(full)</h2>
            \(list(facts))
            \(problem)\(RunChart(runs: state.recent).html)
            \(runs)\(more)</section>

            """
    }

    private var facts: KeyValuePairs<String, String?> {
        [
            "State": "<b class=\"\(condition.tone.name)\">\(condition.tone.sign) \(stateInWords)</b>",
            "Last run": lastRunInWords, "Removed": removedInWords, "Took": state.lastRun.map(Self.took) ?? "–",
            "Next run": state.nextFireTime.map { "\($0.element(at: now)) \(small($0.until(at: now)))" } ?? "none",
            "Oldest expired session": oldestInWords,
        ]
    }

    /// A list of names and values, without rows that have no value. HTML closes `dt` and `dd` by itself.
    private func list(_ rows: KeyValuePairs<String, String?>) -> String {
        let rows = rows.compactMap { name, value in value.map { "<dt>\(name)<dd>\($0)" } }
        return "<dl class=\"facts\">\(rows.joined(separator: "\n"))</dl>"
    }

    private func small(_ html: String) -> String { "<small>\(html)</small>" }

    private var stateInWords: String {
        let word = condition.rawValue
        guard let underWay = state.underWay, state.isHeldElsewhere || state.retryAt == nil else { return word }
        if state.isHeldElsewhere { return "\(word); another process runs it" }
        let attempt = underWay.attempt > 1 ? ", attempt \(underWay.attempt)" : ""
        return "\(condition == .running ? "" : "\(word); ")running for \(underWay.startedAt.since(at: now))\(attempt), "
            + "\(underWay.rowsDeleted.groupedText) removed"
    }

    private var lastRunInWords: String {
        let run = state.lastRun.flatMap { run in
            state.lastEnd.map { $0.wall <= run.report.finishedAt } ?? true ? run : nil
        }
        guard let end = run?.report.finishedAt ?? state.lastEnd?.wall else { return "none known" }
        let isBefore = run == nil ? state.lastEnd.map { $0.elapsed < .zero } ?? false : end < now.wall - now.elapsed
        let whose = isBefore ? ", before this process began" : ", in another process"
        let note = (run.map { ", \($0.report.outcome.words)" } ?? "") + (run?.isOurs ?? false ? "" : whose)
        return "\(end.element(at: now)) \(small("\(end.ago(at: now))\(note)"))"
    }

    /// The run's duration, to the millisecond below ten seconds, as most are.
    private static func took(_ run: JobState.FinishedRun) -> String {
        let duration = run.report.finishedAt - run.report.startedAt
        return duration < .seconds(10) ? duration.secondsText : duration.inWords
    }

    private var removedInWords: String {
        guard let progress = state.lastRun?.report.progress else { return "–" }
        let counts = [(progress.rowsSkipped, "locked by others"), (progress.rowsRefused, "refused by the database")]
        let notes = counts.filter { $0.0 > 0 }.map { "\($0.groupedText) \($1)" }.joined(separator: ", ")
        return progress.rowsDeleted.groupedText + (notes.isEmpty ? "" : " \(small(notes))")
    }

    private var oldestInWords: String {
        if job.table != nil { return "not known for a job of your own" }
        guard let (cutoff, oldest) = state.lastLook else {
            return state.lastRun?.isOurs == false ? "not measured by this process" : "not known yet"
        }
        let time = cutoff.element(at: now)
        return oldest.map { "\($0.inWords) \(small("past its time at \(time)"))" } ?? "none \(small("at \(time)"))"
    }

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
        let retry = state.isHeldElsewhere ? nil : state.retryAt.map { " Next attempt \($0.until(at: now))." }
        let hint = failure.hint.map { "<p><strong>What to do:</strong> \($0.escapedForHTML)</p>" } ?? ""
        let overdue = state.overdueAt.map {
            "Overdue \(condition == .overdue ? "since" : "at") \($0.element(at: now)). "
        }
        return """
            <div class="problem">
            <p><strong>Failing since \(failing.since.element(at: now))</strong> (\(failing.since.ago(at: now))), \(attempts).\(retry ?? "")</p>
            <p class="error">\("\(failure)".escapedForHTML)</p>
            \(hint)<p>\(overdue ?? "")\(Runbook.link(to: Runbook.section(for: failure)))</p>
            </div>

            """
    }

    private var runs: String {
        let runs = state.recent.suffix(7).reversed()
        guard !runs.isEmpty else { return "" }
        let all: [(head: String, count: (RunProgress) -> Int)] = [
            ("Removed", \.rowsDeleted), ("Skipped", \.rowsSkipped), ("Refused", \.rowsRefused),
        ]
        // Columns that have only zeros are left out, so that a phone has room for the others.
        let columns = all.filter { head, count in head == "Removed" || runs.contains { count($0.report.progress) > 0 } }
        let rows = runs.map { run in
            let outcome = run.report.isSuccess ? "" : " class=bad"
            let counts = columns.map { "<td>\($0.count(run.report.progress).groupedText)" }.joined()
            return "<tr><th>\(run.report.scheduledAt.clock(at: now))<td\(outcome)>\(run.report.outcome.words)"
                + "\(counts)<td>\(Self.took(run))"
        }
        let heads = (["Scheduled", "Outcome"] + columns.map(\.head) + ["Took"]).map { "<th scope=col>\($0)" }.joined()
        return """
            <details id="\(id)runs"><summary>\(rows.count == 1 ? "The last run" : "The last \(rows.count) runs")</summary>
            <div class="scroll" tabindex="0" role="region" aria-label="Last runs of \(job.displayName.escapedForHTML)"><table>
            <tr>\(heads)
            \(rows.joined(separator: "\n"))</table></div></details>

            """
    }

    private var more: String {
        let zone = (job.timeZone?.name ?? "UTC").escapedForHTML
        let success = state.lastSuccess.map { "\($0.wall.element(at: now)) \(small($0.wall.ago(at: now)))" }
        let delays = state.recent.compactMap { $0.origin == .schedule ? $0.startDelay : nil }.sorted()
        let delay = delays.last.map { "\(delays[delays.count / 2].inWords) \(small("\($0.inWords) at most"))" }
        let rows: KeyValuePairs<String, String?> = [
            "Schedule": "<code>\(job.schedule.expression.escapedForHTML)</code> \(zone)",
            "Deadline of a run": job.deadline.inWords, "Overdue without success after": state.budget.inWords,
            "Removed in 24 hours": state.deletions.total(at: now).groupedText, "Last success": success ?? "none known",
            "Start delay": delay, "Scheduled times missed": state.missedFires.groupedText,
            "Scheduled times while running": state.coalescedFires > 0 ? state.coalescedFires.groupedText : nil,
        ]
        return "<details id=\"\(id)more\"><summary>Schedule and limits</summary>\(list(rows))</details>\n"
    }
}

extension Outcome {
    var words: String { self == .timedOut ? "timed out" : rawValue }
}
