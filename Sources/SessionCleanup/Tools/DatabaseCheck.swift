import CleanupSchedule
import Postgres
import Time

/// Finds out, before a run does, whether this role on this database can do the work. Changes nothing.
package struct DatabaseCheck: Sendable {
    /// The sessions' table with its jobs first, then each table of the operator's own with its.
    private let tables: [(table: SessionTable, jobs: [Job])]
    private let history: History
    private let maxClockSkew: Duration
    private let lockTimeout: Duration
    private let hostClock: @Sendable () -> UTCInstant

    /// - Parameter runs: for each job, what it would run with; they differ in their jobs and tables only.
    package init(_ runs: [CleanupRun]) {
        precondition(!runs.isEmpty, "there are built-in jobs")
        var tables: [(table: SessionTable, jobs: [Job])] = []
        for run in runs {
            if let index = tables.firstIndex(where: { $0.table == run.table }) {
                tables[index].jobs.append(run.job)
            } else {
                tables.append((run.table, [run.job]))
            }
        }
        self.tables = tables
        history = runs[0].history
        maxClockSkew = runs[0].limits.maxClockSkew
        lockTimeout = runs[0].limits.lockTimeout
        hostClock = runs[0].hostClock
    }

    private static let deadline = Duration.seconds(60)

    /// 8 MB: read in a few milliseconds, every few minutes. A search that reads more than that each time is worth an
    /// index.
    private static let pagesWorthAnIndex = 1024

    /// Returns all that can be found out, in the order of the checks; what depends on something that failed is left out.
    ///
    /// Over one connection, within about a minute.
    package func results(_ access: DatabaseAccess) async -> [CheckResult] {
        let budget = RunBudget(deadline: Self.deadline)
        let connection: Connection
        var results: [CheckResult] = []
        do {
            let started = ContinuousClock.now
            connection = try await access.connect(limit: budget.remaining)
            let took = started.duration(to: .now)
            results.append(.ok(.connection, "\(try access.url()), within \(max(took, .milliseconds(1)).secondsText)"))
        } catch {
            return [.fail(.connection, error)]
        }
        results += await examine(access, in: DatabaseSession(connection: connection, budget: budget))
        await connection.close()
        return results
    }

    private func examine(_ access: DatabaseAccess, in session: DatabaseSession) async -> [CheckResult] {
        var results = [transport(await session.connection.transport, access)]
        let sent = hostClock()
        let survey: Survey
        let comparison: ClockComparison
        do {
            survey = try await Survey.make(of: tables[0].table, for: .reading, in: session)
            comparison = ClockComparison(database: survey.clock, sent: sent, received: hostClock())
        } catch {
            return results + [.fail(.server, error)]
        }
        results.append(survey.serverCheck())
        results.append(
            await attempt(.pooler) { () async throws(RunFailure) in
                try await session.isDirect
                    ? .ok(.pooler, "none: the server itself answers")
                    : .ok(.pooler, "a pooler or a proxy stands in between, which is fine")
            })
        results.append(comparison.check(limit: maxClockSkew))
        results.append(survey.lockTimeoutCheck(lockTimeout))
        results += await survey.searchPathChecks(in: session)
        for (table, jobs) in tables {
            do {
                let found =
                    table == tables[0].table
                    ? survey : try await Survey.make(of: table, for: .reading, in: session)
                results += await checks(found, jobs, in: session)
            } catch {
                results.append(.fail(.table, error))
            }
            await session.rollBack()
        }
        results += await historyChecks(survey, in: session)
        results.append(
            await attempt(.cron) { () async throws(RunFailure) in
                try await cronCheck(in: session)
            })
        return results
    }

    /// A check that asks the server; what the server does not answer is what is wrong.
    ///
    /// - Parameter job: the one that the check is about, for the message of a failure that does not name it.
    private func attempt(
        _ check: CheckResult.Check, of job: String? = nil, _ body: () async throws(RunFailure) -> CheckResult
    ) async -> CheckResult {
        do {
            return try await body()
        } catch {
            var result = CheckResult.fail(check, error)
            if let job, !result.message.contains(job) { result.message = "\(job): \(result.message)" }
            return result
        }
    }

    private func transport(_ transport: Connection.Transport?, _ access: DatabaseAccess) -> CheckResult {
        let found =
            switch transport {
            case .unixSocket, nil: "a Unix socket"
            case .tls(let version, let cipher): "\(version), \(cipher)"
            case .plainTCP: "TCP without TLS"
            }
        let warning: String?
        do {
            warning = try access.url().transportWarning(environment: access.environment)
        } catch {
            return .fail(.transport, error)
        }
        return warning.map { .warn(.transport, "\(found): \($0)", hint: "Complete the database URL.") }
            ?? .ok(.transport, found)
    }

    // MARK: The table

    private func checks(_ survey: Survey, _ jobs: [Job], in session: DatabaseSession) async -> [CheckResult] {
        var generation: SchemaGeneration?
        var parts: [Target.Part]?
        var results: [CheckResult] = []
        do {
            generation = try survey.generation()
            let found = try await survey.parts(in: session)
            parts = found
            let columns = generation.map { "has the columns of the generation \($0.rawValue)" } ?? "is there"
            let inParts = survey.hasChildren ? ", in \(found.filter { $0.kind == "r" }.count) parts" : ""
            results.append(.ok(.table, "\(survey.table.name) \(columns)\(inParts)"))
        } catch {
            results.append(.fail(.table, error))
        }
        results += survey.privilegeChecks()
        if survey.isRowSecurityActive {
            results.append(
                await attempt(.rowSecurity) { () async throws(RunFailure) in
                    try await survey.requireNoHiddenRows(for: .deleting, in: session)
                    return .ok(.rowSecurity, "active for \(survey.role), and hides nothing from it")
                })
        } else if survey.kind != nil {
            results.append(.ok(.rowSecurity, "not active for \(survey.role)"))
        }
        results += await survey.hazardChecks(in: session)
        guard let parts, survey.canUseSchema else { return results }
        let pages: Int
        do {
            pages = try await Survey.pages(of: parts, in: session).values.max() ?? 0
        } catch {
            return results + [.fail(.search, error)]
        }
        if !survey.missingPrivileges.contains("SELECT") {
            for job in jobs {
                results.append(
                    await attempt(.search, of: job.name) { () async throws(RunFailure) in
                        try await searchCheck(job, survey, generation, pages, in: session)
                    })
            }
        }
        if survey.kind == "r", generation != nil {
            results.append(
                await attempt(.indexes) { () async throws(RunFailure) in
                    try await indexCheck(of: survey.table, jobs, generation, pages, in: session)
                })
        }
        return results
    }

    private func searchCheck(
        _ job: Job, _ survey: Survey, _ generation: SchemaGeneration?, _ pages: Int, in session: DatabaseSession
    ) async throws(RunFailure) -> CheckResult {
        let rule = job.rules.rule(for: generation)
        _ = try await rule.requireVisibleTables(in: session)
        try await rule.requireStableCondition(of: job, on: survey.table.name, in: session)
        let plan = try await survey.table.plan(for: rule, cutoff: survey.clock, in: session)
        let others = Set(rule.condition?.tables.map(\.description) ?? []).sorted()
        let found =
            "\(job.name): \(plan.node)\(plan.index.map { " using \($0)" } ?? "")"
            + (others.isEmpty ? "" : "; \(survey.role) has SELECT on \(others.joined(separator: ", "))")
        guard plan.index == nil, pages >= Self.pagesWorthAnIndex else { return .ok(.search, found) }
        // The migration knows the sessions' rules, and no operator's condition.
        let hint =
            generation == nil
            ? "Let the table's owner create an index for the condition of jobs.\(job.name).where."
            : "Run mcp-cleanupd migrate --indexes."
        return .warn(.search, "\(found), which reads \(pages / 128) MB each time", hint: hint)
    }

    private func indexCheck(
        of table: SessionTable, _ jobs: [Job], _ generation: SchemaGeneration?, _ pages: Int,
        in session: DatabaseSession
    ) async throws(RunFailure) -> CheckResult {
        var (missing, invalid): ([String], [String]) = ([], [])
        for index in table.partialIndexes(for: jobs, of: generation) {
            let state = try await session.read(MigrationSQL.state(of: index))
            switch try state.reading({ try $0.rows.first?.bool("is_valid") }) {
            case true?: break
            case false?: invalid.append(index.name)
            case nil: missing.append(index.name)
            }
        }
        let repair = "Run mcp-cleanupd migrate --indexes with an owner's URL."
        if !invalid.isEmpty {
            return .warn(
                .indexes,
                "\(invalid.joined(separator: " and ")): not valid, so no search uses it and each write pays for it",
                hint: repair)
        }
        if missing.isEmpty { return .ok(.indexes, "the optional partial indexes are there and valid") }
        let message = "without the optional \(missing.joined(separator: " and "))"
        return pages >= Self.pagesWorthAnIndex
            ? .warn(.indexes, "\(message), searches cost more than what is due", hint: repair)
            : .ok(.indexes, "\(message); the table is small")
    }

    // MARK: History and pg_cron

    private func historyChecks(_ survey: Survey, in session: DatabaseSession) async -> [CheckResult] {
        let found = survey.history
        guard history.mode != .off else {
            return [.ok(.history, "off: runs are not recorded, and nothing is promised across processes")]
                + (await removedChecks(survey, in: session))
        }
        guard found.isThere else {
            if history.mode == .required { return [.fail(.history, .historyMissing(hasVanished: false))] }
            let absent = RunFailure.nothingRecorded
            return [.warn(.history, "\(absent)", hint: absent.hint)] + (await removedChecks(survey, in: session))
        }
        if let obstacle = found.obstacle {
            return [.fail(.history, .historyUnusable(.runs, role: survey.role, obstacle))]
        }
        let stale = await attempt(.staleRun) { () async throws(RunFailure) in
            let statement = RecordStatements.stale(after: history.lease)
            let row = try await session.read(statement).reading { result in
                try result.rows.first.map { try ($0.text("job"), $0.text("claimed_by"), $0.instant("heartbeat")) }
            }
            guard let (job, owner, heartbeat) = row else { return .ok(.staleRun, "none") }
            return .warn(
                .staleRun, "\(owner) left a run of \(job) without an end; its last heartbeat was at \(heartbeat)",
                hint: "The next run closes or resumes it. If it stays, no process works on this database.")
        }
        return [.ok(.history, "mcp_cleanup.runs is there, and \(survey.role) may use it"), stale]
            + (await removedChecks(survey, in: session))
    }

    /// None where `history.removed` is off.
    private func removedChecks(_ survey: Survey, in session: DatabaseSession) async -> [CheckResult] {
        await CheckResult.all(.removed) { () async throws(RunFailure) in
            guard let recording = try await history.recording(survey, in: session) else { return [] }
            let columns = recording.columns.map(\.name).joined(separator: ", ")
            return [.ok(.removed, "mcp_cleanup.removed is there, and gets \(columns) of each removed session")]
        }
    }

    private func cronCheck(in session: DatabaseSession) async throws(RunFailure) -> CheckResult {
        let jobs: [CronJob]
        switch try await CronJobs.perform(.status, in: session) {
        case .absent: return .ok(.cron, "not in this database")
        case .forbidden(let reason, _):
            return .warn(
                .cron, "it is not known whether pg_cron removes sessions too: \(reason)",
                hint: "mcp-cleanupd pg-cron status prints the SQL that a role with the privilege can run to find out.")
        case .jobs(let found, _): jobs = found
        case .differ(let differences): jobs = differences.map(\.job)
        }
        let active = jobs.filter(\.isActive).map(\.name)
        guard !active.isEmpty else { return .ok(.cron, "none of its jobs removes sessions") }
        return .warn(
            .cron,
            "its \(active.joined(separator: " and ")) \(active.count == 1 ? "removes" : "remove") the same sessions, "
                + "with all their locks at once",
            hint: "Run mcp-cleanupd pg-cron takeover.")
    }
}
