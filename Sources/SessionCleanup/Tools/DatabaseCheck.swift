import CleanupSchedule
import Postgres
import Time

/// Finds out, before a run does, whether this role on this database can do the work. Changes nothing.
package final class DatabaseCheck {
    /// The run of each job, that of a job of the sessions table first; they differ only in their jobs and tables.
    private let runs: [CleanupRun]
    let session: DatabaseSession
    private var results: [CheckResult] = []

    private init(_ runs: [CleanupRun], in session: DatabaseSession) { (self.runs, self.session) = (runs, session) }

    /// 8 MB, which take a few milliseconds. A search that reads more than that every few minutes is worth an index.
    private static let pagesWorthAnIndex = 1024

    /// Returns the results in the order of the checks, without those that depend on something that failed. Uses one
    /// connection, for about a minute at most.
    package static func results(of runs: [CleanupRun], _ access: DatabaseAccess) async -> [CheckResult] {
        do {
            let (url, started) = (try access.url(), ContinuousClock.now)
            return try await access.withSession(deadline: .seconds(60)) { session in
                let took = max(started.duration(to: .now), .milliseconds(1))
                let check = DatabaseCheck(runs, in: session)
                await check.perform(.connection) { [.ok("\(url), within \(took.secondsText)")] }
                await check.checkServer(url.transportWarning(environment: access.environment))
                return check.results
            }
        } catch {
            return [.fail(.connection, error)]
        }
    }

    /// Adds what a check finds, or the failure that it throws.
    ///
    /// - Parameter job: the one that the check is about, for the message of a failure that does not name it.
    func perform(_ check: CheckResult.Check, of job: String? = nil, _ body: () async throws -> [Finding]) async {
        do {
            results += try await body().map { finding in
                switch finding {
                case .ok(let message): CheckResult(check: check, status: .ok, message: message)
                case .warn(let message, let hint):
                    CheckResult(check: check, status: .warn, message: message, hint: hint)
                }
            }
        } catch {
            var result = CheckResult.fail(check, RunFailure(error))
            if let job, !result.message.contains(job) { result.message = "\(job): \(result.message)" }
            results.append(result)
        }
    }

    private func checkServer(_ transportWarning: String?) async {
        await perform(.transport) {
            let transport =
                switch await session.connection.transport {
                case .unixSocket, nil: "a Unix socket"
                case .tls(let version, let cipher): "\(version), \(cipher)"
                case .plainTCP: "TCP without TLS"
                }
            guard let transportWarning else { return [.ok(transport)] }
            return [.warn("\(transport): \(transportWarning)", hint: "Complete the database URL.")]
        }
        var found: (survey: Survey, clocks: ClockComparison)?
        let limits = runs[0].limits
        await perform(.server) {
            let sent = runs[0].hostClock()
            let survey = try await Survey.make(of: runs[0].table, for: .reading, in: session)
            found = (survey, ClockComparison(database: survey.clock, sent: sent, received: runs[0].hostClock()))
            let version = survey.serverVersion
            guard version >= 140_000 else { throw RunFailure.serverTooOld(version: version) }
            if survey.isInRecovery { throw RunFailure.serverReadOnly }
            return [.ok("PostgreSQL \(version / 10_000).\(version % 10_000), read-write")]
        }
        guard let (survey, clocks) = found else { return }
        await perform(.pooler) {
            if try await session.isDirect { return [.ok("none: the server itself answers")] }
            return [.ok("a pooler or a proxy stands in between, which is fine")]
        }
        await perform(.clock) { [try clocks.finding(limit: limits.maxClockSkew)] }
        await perform(.lockTimeout) { [survey.finding(lockTimeout: limits.lockTimeout)] }
        await checkSearchPath(of: survey.role)
        var tables: [SessionTable] = []
        for table in runs.map(\.table) where !tables.contains(table) {
            tables.append(table)
            await perform(.table) {
                let isFirst = table == survey.table
                let found = isFirst ? survey : try await Survey.make(of: table, for: .reading, in: session)
                await checkTable(found, runs.filter { $0.table == table }.map(\.job))
                return []
            }
            await session.rollBack()
        }
        await checkHistory(survey)
        await perform(.cron) { [try await cron()] }
    }

    private func checkTable(_ survey: Survey, _ jobs: [Job]) async {
        let (table, role) = (survey.table.name, survey.role)
        var (generation, parts): (SchemaGeneration?, [Target.Part]?)
        await perform(.table) {
            generation = try survey.generation()
            let found = try await survey.parts(in: session)
            parts = found
            let columns = generation.map { "has the columns of the generation \($0.rawValue)" } ?? "is there"
            let inParts = survey.hasChildren ? ", in \(found.filter { $0.kind == "r" }.count) parts" : ""
            return [.ok("\(table) \(columns)\(inParts)")]
        }
        guard survey.kind != nil else { return }
        let privileges: [(CheckResult.Check, String)] = [
            (.schemaPrivilege, "USAGE"), (.selectPrivilege, "SELECT"), (.updatePrivilege, "UPDATE"),
            (.deletePrivilege, "DELETE"),
        ]
        for (check, privilege) in privileges {
            let isOnSchema = check == .schemaPrivilege
            await perform(check) {
                guard isOnSchema ? survey.canUseSchema : !survey.missingPrivileges.contains(privilege) else {
                    throw RunFailure.privilegesMissing(table, role: role, isOnSchema: isOnSchema, [privilege])
                }
                return [.ok("\(role) has \(privilege) on \(isOnSchema ? "the schema of " : "")\(table)")]
            }
        }
        await perform(.rowSecurity) {
            guard survey.isRowSecurityActive else { return [.ok("not active for \(role)")] }
            try await survey.requireNoHiddenRows(for: .deleting, in: session)
            return [.ok("active for \(role), and hides nothing from it")]
        }
        await checkHazards(survey)
        guard let parts, survey.canUseSchema else { return }
        await perform(.search) {
            let pages = try await Survey.pages(of: parts, in: session).values.max() ?? 0
            for job in jobs where !survey.missingPrivileges.contains("SELECT") {
                await perform(.search, of: job.name) { [try await search(job, survey, generation, pages)] }
            }
            if survey.kind == "r", generation != nil {
                let indexes = survey.table.partialIndexes(for: jobs, of: generation)
                await perform(.indexes) { [try await state(of: indexes, pages)] }
            }
            return []
        }
    }

    private func search(
        _ job: Job, _ survey: Survey, _ generation: SchemaGeneration?, _ pages: Int
    ) async throws -> Finding {
        let rule = job.rule(for: generation)
        _ = try await rule.requireVisibleTables(in: session)
        try await rule.requireStableCondition(of: job, on: survey.table.name, in: session)
        let plan = try await survey.table.plan(for: rule, cutoff: survey.clock, in: session)
        let others = Set(rule.condition?.tables.map(\.description) ?? []).sorted()
        let found =
            "\(job.name): \(plan.node)\(plan.index.map { " using \($0)" } ?? "")"
            + (others.isEmpty ? "" : "; \(survey.role) has SELECT on \(others.joined(separator: ", "))")
        guard plan.index == nil, pages >= Self.pagesWorthAnIndex else { return .ok(found) }
        // The migration makes indexes for the sessions' rules, not for an operator's condition.
        let hint =
            generation == nil
            ? "Let the table's owner create an index for the condition of jobs.\(job.name).where."
            : "Run mcp-cleanupd migrate --indexes."
        return .warn("\(found), which reads \(pages / 128) MB each time", hint: hint)
    }

    private func state(of indexes: [PartialIndex], _ pages: Int) async throws -> Finding {
        var (missing, invalid): ([String], [String]) = ([], [])
        for index in indexes {
            let isValid = try await session.isValid(index)
            if isValid == nil { missing.append(index.name) }
            if isValid == false { invalid.append(index.name) }
        }
        let repair = "Run mcp-cleanupd migrate --indexes with an owner's URL."
        if !invalid.isEmpty {
            let names = invalid.joined(separator: " and ")
            return .warn("\(names): not valid, so no search uses it and each write pays for it", hint: repair)
        }
        if missing.isEmpty { return .ok("the optional partial indexes are there and valid") }
        let message = "without the optional \(missing.joined(separator: " and "))"
        return pages >= Self.pagesWorthAnIndex
            ? .warn("\(message), searches cost more than what is due", hint: repair)
            : .ok("\(message); the table is small")
    }

    private func checkHistory(_ survey: Survey) async {
        let (history, found) = (runs[0].history, survey.history)
        await perform(.history) {
            if history.mode == .off {
                return [.ok("off: runs are not recorded, and nothing is promised across processes")]
            }
            guard found.isThere else {
                if history.mode == .required { throw RunFailure.historyMissing(hasVanished: false) }
                return [.warn("\(RunFailure.nothingRecorded)", hint: RunFailure.nothingRecorded.hint)]
            }
            try found.requireUsable(by: survey.role)
            return [.ok("mcp_cleanup.runs is there, and \(survey.role) may use it")]
        }
        guard results.last?.status != .fail else { return }
        if history.mode != .off, found.isThere { await perform(.staleRun) { [try await staleRun(history.lease)] } }
        await perform(.removed) {
            guard let recording = try await history.recording(survey, in: session) else { return [] }
            let columns = recording.columns.map(\.name).joined(separator: ", ")
            return [.ok("mcp_cleanup.removed is there, and gets \(columns) of each removed session")]
        }
    }

    private func staleRun(_ lease: Duration) async throws -> Finding {
        guard let row = try await session.read(HistorySQL.stale(after: lease)).rows.first else { return .ok("none") }
        return .warn(
            "\(try row.text("claimed_by")) left a run of \(try row.text("job")) without an end; its last heartbeat was at "
                + "\(try row.instant("heartbeat"))",
            hint: "The next run closes or resumes it. If it stays, no process works on this database.")
    }

    private func cron() async throws -> Finding {
        let active: [String]
        switch try await session.cronJobs(.status) {
        case .absent: return .ok("not in this database")
        case .forbidden(let reason, _):
            return .warn(
                "it is not known whether pg_cron removes sessions too: \(reason)",
                hint: "mcp-cleanupd pg-cron status prints the SQL that a role with the privilege can run to find out.")
        case .jobs(let jobs, _): active = jobs.filter(\.isActive).map(\.name)
        case .differ: preconditionFailure("only a takeover compares jobs")
        }
        if active.isEmpty { return .ok("none of its jobs removes sessions") }
        return .warn(
            "its \(active.joined(separator: " and ")) \(active.count == 1 ? "removes" : "remove") the same sessions, "
                + "with all their locks at once", hint: "Run mcp-cleanupd pg-cron takeover.")
    }
}

extension ClockComparison {
    /// - Throws: `databaseClockAhead`.
    func finding(limit: Duration) throws(RunFailure) -> Finding {
        try refuseAhead(by: limit)
        if skew == .zero { return .ok("the database's clock and this host's agree") }
        let distance = (skew > .zero ? skew : .zero - skew).secondsText
        if skew < .zero - limit {
            return .warn(
                "the database's clock is \(distance) behind this host's: sessions are removed that much later",
                hint: "Set both clocks right.")
        }
        let direction = skew > .zero ? "ahead of" : "behind"
        return .ok("the database's clock is \(distance) \(direction) this host's; \(limit.secondsText) are allowed")
    }
}
