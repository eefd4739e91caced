import CleanupSchedule
import Postgres

/// The action of `mcp-cleanupd pg-cron` on the seed's jobs in pg_cron, which remove the same rows.
package enum CronAction: String, Hashable, Sendable, CaseIterable {
    case status
    /// Deactivates the active jobs, and marks them.
    case takeover
    /// Activates the jobs with the mark again, and removes the mark.
    case rollback
}

package enum CronAnswer: Sendable {
    /// pg_cron is not in this database, nor known to run this database's jobs from another.
    case absent
    /// A takeover changed nothing: these jobs differ from the daemon's.
    case differ([CronDifference])
    /// The jobs, and the IDs of those that changed.
    case jobs([CronJob], changed: Set<Int>)
    /// The role may not read or change the jobs: why, and the SQL for a role that may.
    case forbidden(reason: String, sql: String)
}

/// A job of pg_cron's that removes sessions.
package struct CronJob: Hashable, Sendable {
    package let id: Int
    package let name: String
    package let schedule: String
    package let command: String
    package let role: String
    package let isActive: Bool
    /// True if a takeover has deactivated it.
    package let isTakenOver: Bool
}

extension CronJob {
    /// Reads a row of `CronSQL`.
    fileprivate init(_ row: QueryResult.Row) throws(PostgresError) {
        self.init(
            id: try row.integer("jobid"), name: try row.text("jobname"), schedule: try row.text("schedule"),
            command: try row.text("command"), role: try row.text("username"), isActive: try row.bool("active"),
            isTakenOver: try row.bool("is_taken_over"))
    }
}

/// A job of pg_cron's that does something else, or at other times, than the daemon's job that would take its place.
/// `schedule` and `command` describe the latter: the statement that has its effect, or why it deletes nothing.
package typealias CronDifference = (job: CronJob, schedule: String, command: String)

/// The daemon's jobs: one with the short name `x` takes the place of pg_cron's job whose name ends in `x-sessions`.
package typealias CronSuccessors = (jobs: [Job], table: SessionTable)

extension DatabaseAccess {
    /// Lists pg_cron's jobs, takes them over or gives them back, over a connection of its own, within 30 s.
    ///
    /// - Parameter successors: the daemon's jobs, which pg_cron's have to equal before a takeover; `nil` accepts differences.
    package func cronJobs(
        _ action: CronAction, comparing successors: CronSuccessors?
    ) async throws(RunFailure) -> CronAnswer {
        try await withSession(deadline: .seconds(30)) { try await $0.cronJobs(action, comparing: successors) }
    }
}

extension DatabaseSession {
    func cronJobs(_ action: CronAction, comparing successors: CronSuccessors? = nil) async throws -> CronAnswer {
        let survey = try await read(CronSQL.survey).onlyRow()
        let (database, role) = (try survey.text("database"), try survey.text("role"))
        let statement = CronSQL.statement(action, database: database)
        func forbidden(_ reason: String, _ heading: String = "") -> CronAnswer {
            .forbidden(reason: reason, sql: "\(heading)\(statement);")
        }
        guard try survey.bool("is_here") else {
            // `home` is also `nil` for a role that may not see the setting.
            guard let home = try survey.textIfPresent("home"), home != database else { return .absent }
            return forbidden(
                "pg_cron keeps its jobs in the database \(home), and this one is \(database)",
                "-- In the database \(home):\n")
        }
        guard try survey.bool("can_use_schema"), try survey.bool("can_select") else {
            return forbidden("the role \(role) may not read cron.job")
        }
        let list = CronSQL.statement(.status, database: database)
        let jobs = try await read(list).rows.map(CronJob.init)
        if jobs.isEmpty, try survey.bool("is_restricted") {
            return forbidden("row security shows the role \(role) its own jobs in cron.job only, and it has none")
        }
        if action == .status { return .jobs(jobs, changed: []) }
        if action == .takeover, let successors {
            let differences = jobs.filter(\.isActive).compactMap { $0.difference(from: successors) }
            if !differences.isEmpty { return .differ(differences) }
        }
        do {
            let answers = try await write(Script(statement, as: .row).adding(list, as: .answer))
            let changed = try answers.read(.row) { try $0.rows.map { try $0.integer("jobid") } }
            return .jobs(try answers.read(.answer) { try $0.rows.map(CronJob.init) }, changed: Set(changed))
        } catch {
            guard error.sqlState == "42501" else { throw error }
            return forbidden("the role \(role) may not change pg_cron's jobs: \(error)")
        }
    }
}

extension CronJob {
    /// Returns the difference from the daemon's job in its place; `nil` if both delete the same rows at the same times.
    fileprivate func difference(from successors: CronSuccessors) -> CronDifference? {
        let (jobs, table) = successors
        let successor = jobs.first { job in job.shortName.map { name.hasSuffix("\($0)-sessions") } ?? false }
        guard let successor, successor.isEnabled else {
            return (self, "never", "nothing: the job is not enabled")
        }
        let generations = table.schema?.generation.map { [$0] } ?? SchemaGeneration.allCases
        let commands = generations.map { generation in
            let condition = successor.rule(for: generation).predicate.split(separator: "$1").joined(
                separator: "now()")
            return "DELETE FROM \(table.name) WHERE \(condition)"
        }
        let expected = successor.schedule.expression + (successor.timeZone.map { " \($0.name)" } ?? "")
        let words = { (schedule: String) in schedule.lowercased().split(whereSeparator: \.isWhitespace) }
        let found = Self.parts(of: command)
        if words(expected) == words(schedule), commands.contains(where: { Self.parts(of: $0) == found }) { return nil }
        return (self, expected, commands[0])
    }

    /// Returns the conditions of a DELETE and the words before them, in a form that is equal for two statements that
    /// delete the same rows: white space, the case of words, the order of conditions and the unit of an interval do not
    /// count. Everything else does.
    private static func parts(of sql: String) -> Set<[String]> {
        var words = tokens(sql)
        if words.last == ";" { words.removeLast() }
        let start = words.firstIndex(of: "where") ?? words.endIndex
        var head = words[..<start].filter { $0 != "only" }
        // A table without a schema is the one in pg_cron's search path: in public, unless that was changed.
        if head.count == 3, head[0] == "delete" { head.insert(contentsOf: ["public", "."], at: 2) }
        return Set([head] + words[start...].dropFirst().split(separator: "and").map { Array($0) })
    }

    /// Returns the tokens: words in lower case, strings and symbols, with intervals converted to seconds. A day counts
    /// as 24 hours: pg_cron's sessions compute in UTC unless the server is set otherwise.
    private static func tokens(_ sql: String) -> [String] {
        var tokens: [String] = []
        var rest = Substring(sql)
        // Ends because each turn takes something.
        while let first = rest.first {
            if first.isWhitespace {
                rest.removeFirst()
            } else if first == "'" || first == "\"" {
                let text = rest.dropFirst().prefix { $0 != first }
                if first == "'", tokens.last == "interval", let seconds = seconds(text) {
                    tokens[tokens.count - 1] = "interval \(seconds)"
                } else {
                    // A plain name is the same with quotes.
                    tokens.append(first == "'" ? "'\(text)'" : String(text))
                }
                rest = rest.dropFirst(text.count + 2)
            } else if first.isLetter || first.isNumber || first == "_" {
                let word = rest.prefix { $0.isLetter || $0.isNumber || $0 == "_" }
                tokens += word.lowercased() == "current_timestamp" ? ["now", "(", ")"] : [word.lowercased()]
                rest = rest.dropFirst(word.count)
            } else {
                let symbol = ["!=": "<>", "<>": "<>", "<=": "<=", ">=": ">=", "--": "--"][String(rest.prefix(2))]
                tokens.append(symbol ?? String(first))
                rest = rest.dropFirst(symbol == nil ? 1 : 2)
            }
        }
        return tokens
    }

    private static func seconds(_ interval: Substring) -> Int? {
        let parts = interval.split(separator: " ")
        guard parts.count == 2, let number = Int32(parts[0]).map(Int.init) else { return nil }
        let units = ["second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800]
        let unit = units[String(parts[1].hasSuffix("s") ? parts[1].dropLast() : parts[1])]
        return unit.map { number * $0 }
    }
}
