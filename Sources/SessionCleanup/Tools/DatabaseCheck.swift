import CleanupSchedule
import Postgres
import Time

/// Finds out, before a run does, whether this role on this database can do the work. Changes nothing.
package struct DatabaseCheck: Sendable {
    /// What each job would run with, a job of the sessions' table first; they differ in their jobs and tables only.
    private let runs: [CleanupRun]

    /// - Parameter runs: at least one: there are built-in jobs.
    package init(_ runs: [CleanupRun]) { self.runs = runs }

    private var history: History { runs[0].history }

    private static let deadline = Duration.seconds(60)

    /// 8 MB: read in a few milliseconds, every few minutes. A search that reads more than that each time is worth an
    /// index.
    private static let pagesWorthAnIndex = 1024

    /// Returns all that can be found out, in the order of the checks; what depends on something that failed is left out.
    ///
    /// Over one connection, within about a minute.
    package func results(_ access: DatabaseAccess) async -> [CheckResult] {
        await CheckResult.all(.connection) {
            let started = ContinuousClock.now
            let budget = RunBudget(deadline: Self.deadline)
            let connection = try await access.connect(limit: budget.remaining)
            let took = max(started.duration(to: .now), .milliseconds(1))
            let found = await examine(access, in: DatabaseSession(connection: connection, budget: budget))
            await connection.close()
            return [.ok(.connection, "\(try access.url()), within \(took.secondsText)")] + found
        }
    }

    private func examine(_ access: DatabaseAccess, in session: DatabaseSession) async -> [CheckResult] {
        let transport = await session.connection.transport
        let results = await CheckResult.all(.transport) { [try Self.check(transport, access)] }
        return await results
            + CheckResult.all(.server) {
                let sent = runs[0].hostClock()
                let survey = try await Survey.make(of: runs[0].table, for: .reading, in: session)
                let comparison = ClockComparison(database: survey.clock, sent: sent, received: runs[0].hostClock())
                return await examine(survey, comparison, in: session)
            }
    }

    private func examine(
        _ survey: Survey, _ comparison: ClockComparison, in session: DatabaseSession
    ) async -> [CheckResult] {
        var results = [survey.serverCheck()]
        results += await CheckResult.all(.pooler) {
            try await session.isDirect
                ? [.ok(.pooler, "none: the server itself answers")]
                : [.ok(.pooler, "a pooler or a proxy stands in between, which is fine")]
        }
        results.append(comparison.check(limit: runs[0].limits.maxClockSkew))
        results.append(survey.lockTimeoutCheck(runs[0].limits.lockTimeout))
        results += await survey.searchPathChecks(in: session)
        var tables: [SessionTable] = []
        for table in runs.map(\.table) where !tables.contains(table) {
            tables.append(table)
            results += await CheckResult.all(.table) {
                let found =
                    table == survey.table ? survey : try await Survey.make(of: table, for: .reading, in: session)
                return await checks(found, runs.filter { $0.table == table }.map(\.job), in: session)
            }
            await session.rollBack()
        }
        results += await historyChecks(survey, in: session)
        return await results + CheckResult.all(.cron) { [try await cronCheck(in: session)] }
    }

    private static func check(_ transport: Connection.Transport?, _ access: DatabaseAccess) throws -> CheckResult {
        let found =
            switch transport {
            case .unixSocket, nil: "a Unix socket"
            case .tls(let version, let cipher): "\(version), \(cipher)"
            case .plainTCP: "TCP without TLS"
            }
        let warning = try access.url().transportWarning(environment: access.environment)
        return warning.map { .warn(.transport, "\(found): \($0)", hint: "Complete the database URL.") }
            ?? .ok(.transport, found)
    }

    // MARK: The table

    private func checks(_ survey: Survey, _ jobs: [Job], in session: DatabaseSession) async -> [CheckResult] {
        var generation: SchemaGeneration?
        var parts: [Target.Part]?
        var results = await CheckResult.all(.table) {
            generation = try survey.generation()
            let found = try await survey.parts(in: session)
            parts = found
            let columns = generation.map { "has the columns of the generation \($0.rawValue)" } ?? "is there"
            let inParts = survey.hasChildren ? ", in \(found.filter { $0.kind == "r" }.count) parts" : ""
            return [.ok(.table, "\(survey.table.name) \(columns)\(inParts)")]
        }
        results += survey.privilegeChecks()
        if survey.isRowSecurityActive {
            results += await CheckResult.all(.rowSecurity) {
                try await survey.requireNoHiddenRows(for: .deleting, in: session)
                return [.ok(.rowSecurity, "active for \(survey.role), and hides nothing from it")]
            }
        } else if survey.kind != nil {
            results.append(.ok(.rowSecurity, "not active for \(survey.role)"))
        }
        results += await survey.hazardChecks(in: session)
        guard let parts, survey.canUseSchema else { return results }
        return await results
            + CheckResult.all(.search) {
                let pages = try await Survey.pages(of: parts, in: session).values.max() ?? 0
                return await searchChecks(jobs, survey, generation, pages, in: session)
            }
    }

    private func searchChecks(
        _ jobs: [Job], _ survey: Survey, _ generation: SchemaGeneration?, _ pages: Int, in session: DatabaseSession
    ) async -> [CheckResult] {
        var results: [CheckResult] = []
        for job in jobs where !survey.missingPrivileges.contains("SELECT") {
            results += await CheckResult.all(.search, of: job.name) {
                [try await searchCheck(job, survey, generation, pages, in: session)]
            }
        }
        guard survey.kind == "r", generation != nil else { return results }
        return await results
            + CheckResult.all(.indexes) {
                [try await indexCheck(survey.table.partialIndexes(for: jobs, of: generation), pages, in: session)]
            }
    }

    private func searchCheck(
        _ job: Job, _ survey: Survey, _ generation: SchemaGeneration?, _ pages: Int, in session: DatabaseSession
    ) async throws -> CheckResult {
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
        _ indexes: [PartialIndex], _ pages: Int, in session: DatabaseSession
    ) async throws -> CheckResult {
        var (missing, invalid): ([String], [String]) = ([], [])
        for index in indexes {
            switch try await session.isValid(index) {
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
        var results: [CheckResult]
        if history.mode == .off {
            results = [.ok(.history, "off: runs are not recorded, and nothing is promised across processes")]
        } else if !found.isThere {
            if history.mode == .required { return [.fail(.history, .historyMissing(hasVanished: false))] }
            let absent = RunFailure.nothingRecorded
            results = [.warn(.history, "\(absent)", hint: absent.hint)]
        } else if let obstacle = found.obstacle() {
            return [.fail(.history, .historyUnusable(.runs, role: survey.role, obstacle))]
        } else {
            results = [.ok(.history, "mcp_cleanup.runs is there, and \(survey.role) may use it")]
            results += await CheckResult.all(.staleRun) { [try await staleRunCheck(in: session)] }
        }
        return await results
            + CheckResult.all(.removed) {
                guard let recording = try await history.recording(survey, in: session) else { return [] }
                let columns = recording.columns.map(\.name).joined(separator: ", ")
                return [.ok(.removed, "mcp_cleanup.removed is there, and gets \(columns) of each removed session")]
            }
    }

    private func staleRunCheck(in session: DatabaseSession) async throws -> CheckResult {
        guard let row = try await session.read(HistorySQL.stale(after: history.lease)).rows.first else {
            return .ok(.staleRun, "none")
        }
        return .warn(
            .staleRun,
            "\(try row.text("claimed_by")) left a run of \(try row.text("job")) without an end; its last heartbeat was at "
                + "\(try row.instant("heartbeat"))",
            hint: "The next run closes or resumes it. If it stays, no process works on this database.")
    }

    private func cronCheck(in session: DatabaseSession) async throws -> CheckResult {
        let active: [String]
        switch try await CronJobs.perform(.status, in: session) {
        case .absent: return .ok(.cron, "not in this database")
        case .forbidden(let reason, _):
            return .warn(
                .cron, "it is not known whether pg_cron removes sessions too: \(reason)",
                hint: "mcp-cleanupd pg-cron status prints the SQL that a role with the privilege can run to find out.")
        case .jobs(let jobs, _): active = jobs.filter(\.isActive).map(\.name)
        case .differ: preconditionFailure("only a takeover compares jobs")
        }
        guard !active.isEmpty else { return .ok(.cron, "none of its jobs removes sessions") }
        return .warn(
            .cron,
            "its \(active.joined(separator: " and ")) \(active.count == 1 ? "removes" : "remove") the same sessions, "
                + "with all their locks at once",
            hint: "Run mcp-cleanupd pg-cron takeover.")
    }
}
