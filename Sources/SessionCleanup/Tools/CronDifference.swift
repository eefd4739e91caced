import CleanupSchedule

/// A job of pg_cron's that does something else, or at other times, than the daemon's job that would take its place.
package struct CronDifference: Hashable, Sendable {
    package let job: CronJob
    /// The schedule of the daemon's job.
    package let schedule: String
    /// The statement that has the effect of the daemon's job, or the reason why that deletes nothing.
    package let command: String
}

/// The daemon's jobs that take the place of pg_cron's.
package struct CronSuccessors: Sendable {
    private let jobs: [Job]
    private let table: SessionTable

    /// - Parameter jobs: those with a short name take the place of pg_cron's jobs of that name.
    package init(_ jobs: [Job], on table: SessionTable) {
        self.jobs = jobs
        self.table = table
    }

    /// Returns the difference between a job and the one in its place; `nil` if they delete the same at the same times.
    func difference(of cronJob: CronJob) -> CronDifference? {
        let successor = jobs.first { job in job.shortName.map { cronJob.name.hasSuffix("\($0)-sessions") } ?? false }
        guard let successor, successor.isEnabled else {
            return CronDifference(job: cronJob, schedule: "never", command: "nothing: the job is not enabled")
        }
        let generations = table.schema?.generation.map { [$0] } ?? SchemaGeneration.allCases
        let commands = generations.map { statement(successor.rules.rule(for: $0)) }
        let schedule = successor.schedule.expression + (successor.timeZone.map { " \($0.name)" } ?? "")
        let found = CronCommand(cronJob.command)
        let isSame =
            commands.contains { CronCommand($0) == found }
            && Self.words(schedule) == Self.words(cronJob.schedule)
        return isSame ? nil : CronDifference(job: cronJob, schedule: schedule, command: commands[0])
    }

    private func statement(_ rule: Rule) -> String {
        "DELETE FROM \(table.name) WHERE \(rule.predicate.split(separator: "$1").joined(separator: "now()"))"
    }

    private static func words(_ schedule: String) -> [String] {
        schedule.lowercased().split(whereSeparator: \.isWhitespace).map(String.init)
    }
}

/// A command of pg_cron's, so that two that delete the same rows are equal however they are written: white space, the
/// case of words, the order of conditions and the unit of an interval do not count. Everything else does.
struct CronCommand: Equatable {
    private let head: [String]
    private let conditions: Set<[String]>

    init(_ sql: String) {
        var words = Self.tokens(sql)
        if words.last == ";" { words.removeLast() }
        let start = words.firstIndex(of: "where") ?? words.endIndex
        var head = words[..<start].filter { $0 != "only" }
        // Without a schema it is the one that pg_cron's sessions find: public, unless someone has changed that.
        if head.count == 3, head[0] == "delete" { head.insert(contentsOf: ["public", "."], at: 2) }
        self.head = head
        conditions = Set(words[start...].dropFirst().split(separator: "and").map { Self.inSeconds(Array($0)) })
    }

    /// `interval '30 days'` and `'720 hours'::interval` as one token in seconds. Days have 24 hours: pg_cron's sessions
    /// compute in UTC unless the server is set otherwise.
    private static func inSeconds(_ words: [String]) -> [String] {
        var result: [String] = []
        for word in words {
            guard word.hasPrefix("'"), result.last == "interval", let seconds = seconds(word) else {
                result.append(word)
                continue
            }
            result[result.count - 1] = "interval \(seconds)"
        }
        return result
    }

    private static func seconds(_ literal: String) -> Int? {
        let parts = literal.dropFirst().dropLast().split(separator: " ")
        guard parts.count == 2, let number = Int(parts[0]) else { return nil }
        let units = ["second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800]
        let unit = parts[1].hasSuffix("s") ? String(parts[1].dropLast()) : String(parts[1])
        return units[unit].map { number.multipliedReportingOverflow(by: $0).partialValue }
    }

    /// Words in lower case, strings, and single symbols.
    private static func tokens(_ sql: String) -> [String] {
        var tokens: [String] = []
        var rest = Substring(sql)
        // Ends because each turn takes something.
        while let first = rest.first {
            if first.isWhitespace {
                rest.removeFirst()
            } else if first == "'" || first == "\"" {
                let text = rest.dropFirst().prefix { $0 != first }
                // A plain name is the same with quotes.
                tokens.append(first == "'" ? "'\(text)'" : String(text))
                rest = rest.dropFirst(text.count + 2)
            } else if first.isLetter || first.isNumber || first == "_" {
                let word = rest.prefix { $0.isLetter || $0.isNumber || $0 == "_" }
                tokens.append(word.lowercased() == "current_timestamp" ? "now" : word.lowercased())
                if word.lowercased() == "current_timestamp" { tokens += ["(", ")"] }
                rest = rest.dropFirst(word.count)
            } else {
                let symbol = ["!=": "<>", "<>": "<>", "<=": "<=", ">=": ">=", "--": "--"][String(rest.prefix(2))]
                tokens.append(symbol ?? String(first))
                rest = rest.dropFirst(symbol == nil ? 1 : 2)
            }
        }
        return tokens
    }
}
