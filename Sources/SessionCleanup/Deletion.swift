import CleanupSchedule
import Postgres

/// The deleting part of a run: finds the rows that are due at the run's cutoff, and deletes them in bounded batches.
struct Deletion: Sendable {
    let run: CleanupRun
    let target: CleanupRun.Target
    let clock: RunClock
    /// `nil` where there is no history.
    private(set) var claim: RunClaim?
    private var size: BatchSize
    /// Whether the job's `max-rows` ended it, with due rows left.
    private(set) var isCapped = false

    /// An owner that only searches gives a sign of life this often, as a part of its lease: what a search may take at
    /// most comes on top.
    private static let renewals = 6

    init(_ run: CleanupRun, _ target: CleanupRun.Target, claim: RunClaim?, clock: RunClock) {
        self.run = run
        self.target = target
        self.claim = claim
        self.clock = clock
        size = BatchSize(target: run.limits.batchTarget, most: run.limits.batchRows)
    }

    private var name: TableName { run.table.name }
    private var cutoff: Parameter { .timestamp("\(target.cutoff)") }

    /// Deletes what is due and not held by others.
    ///
    /// Walks through the table once, forward; if anything was left behind (held, or moved by an update), once more.
    /// - Parameter progress: what is done so far; right after an error too.
    /// - Returns: since when the oldest of the rows found was due.
    mutating func execute(
        over connection: isolated Connection, progress: inout RunProgress
    ) async throws(RunFailure) -> UTCInstant? {
        if let share = run.job.maxFraction { try await refuseMore(than: share, over: connection) }
        var oldest: UTCInstant?
        let isCleared = try await walk(over: connection, progress: &progress, oldest: &oldest)
        progress.isSearchComplete = true
        if !isCleared, !isCapped {
            progress.rowsSkipped = 0
            _ = try await walk(over: connection, progress: &progress, oldest: &oldest)
        }
        return oldest
    }

    // MARK: Finding

    /// - Returns: whether everything found was deleted.
    private mutating func walk(
        over connection: isolated Connection, progress: inout RunProgress, oldest: inout UTCInstant?
    ) async throws(RunFailure) -> Bool {
        var isCleared = true
        var plan = SearchPlan(limit: run.limits.searchRows)
        // Ends because each step begins behind the one before, or is smaller.
        while let step = plan.step {
            let started = ContinuousClock.now
            guard let found = try await search(step, &plan, over: connection) else { continue }
            let count = found.reduce(0) { $0 + $1.addresses.count }
            guard plan.found(count, after: started.duration(to: .now)) else { continue }
            for since in found.compactMap(\.oldest) { oldest = min(oldest ?? since, since) }
            if !progress.isSearchComplete {
                progress.rowsFound += count
                progress.isSearchComplete = plan.step == nil
            }
            run.onProgress(progress)
            try await renewClaim(over: connection)
            for part in found {
                isCleared = try await delete(part.addresses, over: connection, progress: &progress) && isCleared
                if isCapped { return isCleared }
            }
        }
        return isCleared
    }

    private struct Found: Sendable {
        let addresses: RowAddresses
        let oldest: UTCInstant?
    }

    /// - Returns: `nil` for a step that finds no rows, or that has to be made smaller.
    private func search(
        _ step: SearchPlan.Step, _ plan: inout SearchPlan, over connection: isolated Connection
    ) async throws(RunFailure) -> [Found]? {
        let sql: String
        var parameters = [cutoff]
        switch step {
        case .oldest(let limit):
            sql = Statements.searchOldest(name, rule: target.rule)
            parameters.append(.integer(limit))
        case .pages(let pages):
            sql = Statements.searchPages(name, rule: target.rule)
            parameters += Self.bounds(of: pages)
        case .countPages:
            try await countPages(&plan, over: connection)
            return nil
        }
        guard
            let result = try await connection.search(
                clock, sql, parameters, refusesFilters: target.refusesFilters, shrinking: &plan)
        else { return nil }
        return try result.reading { result in
            try result.rows.map { Found(addresses: try RowAddresses($0), oldest: try $0.instantIfPresent("oldest")) }
        }
    }

    /// The address from which on, and the one up to but without which, the pages' rows lie.
    private static func bounds(of pages: Range<Int>) -> [Parameter] {
        [pages.lowerBound, pages.upperBound].map { .rowAddress("(\($0),0)") }
    }

    private func countPages(_ plan: inout SearchPlan, over connection: isolated Connection) async throws(RunFailure) {
        let result = try await connection.finishTransaction(clock, Statements.pageCount(of: name), [])
        plan.counted(pages: try result.reading { try $0.onlyRow().integer("pages") })
    }

    /// Counts the table before anything is deleted.
    private mutating func refuseMore(than share: Double, over connection: isolated Connection) async throws(RunFailure)
    {
        var (due, total) = (0, 0)
        var plan = SearchPlan(countingPagesOf: run.limits.searchRows)
        let sql = Statements.countPages(name, rule: target.rule)
        while let step = plan.step {
            guard case .pages(let pages) = step else {
                try await countPages(&plan, over: connection)
                continue
            }
            let started = ContinuousClock.now
            let parameters = [cutoff] + Self.bounds(of: pages)
            guard
                let result = try await connection.search(
                    clock, sql, parameters, refusesFilters: target.refusesFilters, shrinking: &plan)
            else { continue }
            let row = try result.reading { try $0.onlyRow() }
            do {
                due += try row.integer("due")
                total += try row.integer("total")
            } catch {
                throw RunFailure(error)
            }
            _ = plan.found(0, after: started.duration(to: .now))
            try await renewClaim(over: connection)
        }
        if Double(due) > share * Double(total) { throw .tooManyDue(name, due: due, total: total, limit: share) }
    }

    private mutating func renewClaim(over connection: isolated Connection) async throws(RunFailure) {
        guard let claim, claim.renewed.duration(to: .now) > run.history.lease / Self.renewals else { return }
        let sent = ContinuousClock.now
        let results = try await connection.transaction(clock, HistoryStatements.renew(claim))
        guard results.first?.rows.count == 1 else { throw .claimLost }
        self.claim?.renewed = sent
    }

    // MARK: Deleting

    /// - Returns: whether all of them were deleted.
    private mutating func delete(
        _ addresses: RowAddresses, over connection: isolated Connection, progress: inout RunProgress
    ) async throws(RunFailure) -> Bool {
        var isCleared = true
        var start = 0
        // Ends because each round goes on behind the one before, or takes fewer rows.
        while start < addresses.count {
            let room = run.job.maxRows.map { $0 - progress.rowsDeleted } ?? .max
            if room <= 0 {
                isCapped = true
                return isCleared
            }
            let batch = start..<min(start + min(size.rows, room), addresses.count)
            let started = ContinuousClock.now
            let result: (deleted: Int, held: Int, work: Duration)
            do {
                result = try await delete(batch, of: addresses, skipped: progress.rowsSkipped, over: connection)
            } catch {
                guard error.sqlState == "57014", started.duration(to: .now) >= clock.transactionLimit * 9 / 10,
                    clock.remaining > .zero, size.batchTimedOut()
                else { throw error }
                continue
            }
            let duration = started.duration(to: .now)
            size.batchEnded(rows: batch.count, after: result.work)
            claim?.renewed = started
            progress.rowsDeleted += result.deleted
            progress.rowsSkipped += result.held
            progress.batches += 1
            isCleared = isCleared && result.deleted == batch.count
            start = batch.upperBound
            run.onBatch(duration, result.deleted)
            run.onProgress(progress)
            // An owner that rests is alive: never longer than a transaction may be silent.
            if run.limits.batchPause > .zero {
                await connection.rest(for: min(run.limits.batchPause, clock.transactionLimit))
            }
        }
        return isCleared
    }

    /// One batch: one transaction, in which nothing is deleted unless the run is still ours.
    ///
    /// - Returns: with the counts, how long the server worked on the rows.
    private func delete(
        _ batch: Range<Int>, of addresses: RowAddresses, skipped: Int, over connection: isolated Connection
    ) async throws(RunFailure) -> (deleted: Int, held: Int, work: Duration) {
        let parameters: [Parameter] = [
            cutoff, .rowAddresses(addresses.literal(batch)), .objectIdentifier(addresses.partition),
        ]
        let started = ContinuousClock.now
        let owned = try await connection.begin(
            clock, refusesFilters: target.refusesFilters, then: claim.map(HistoryStatements.hold))
        let begun = ContinuousClock.now
        do {
            if claim != nil, owned?.rows.count != 1 { throw RunFailure.claimLost }
            let deletion = Statements.deleteBatch(from: name, rule: target.rule)
            var row = try await connection.statement(clock, deletion, parameters).onlyRow()
            // Less what it took to begin, which is the way there and back.
            let work = begun.duration(to: .now) - started.duration(to: begun)
            var deleted = try row.integer("deleted")
            if try row.integer("locked") > deleted {
                // Something keeps what we hold; or, hardly ever, a row moved to an address that another one had left.
                // A second statement sees it there.
                row = try await connection.statement(clock, deletion, parameters).onlyRow()
                deleted += try row.integer("deleted")
                let vetoed = try row.integer("locked") - row.integer("deleted")
                if vetoed > 0 { throw RunFailure.deletionVetoed(name, rows: vetoed) }
            }
            var held = 0
            if deleted < batch.count {
                let remaining = Statements.countRemaining(in: name, rule: target.rule)
                held = try await connection.statement(clock, remaining, parameters).onlyRow().integer("remaining")
            }
            try await connection.commit(
                clock,
                claim.map { HistoryStatements.account($0, deleted: deleted, skipped: skipped + held) } ?? "COMMIT")
            return (deleted, held, work)
        } catch {
            let failure = clock.failure(error)
            await connection.rollBack(clock)
            throw failure
        }
    }
}
