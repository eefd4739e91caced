import Postgres
import Time

/// The deleting part of a run: finds the rows that are due at the run's cutoff, and deletes them in bounded batches.
struct Deletion: Sendable {
    let run: CleanupRun
    let target: CleanupRun.Target
    let clock: RunClock
    /// `nil` where there is no history.
    private(set) var claim: RunClaim?
    private var size: BatchSize
    /// Batches in a row that met a row on its way from one partition to another: the server says 40001 then, where it
    /// would else follow the row or leave it alone, and nothing of the batch was done.
    private var conflicts = 0
    /// Whether the job's `max-rows` ended it, with due rows left.
    private(set) var isCapped = false

    /// An owner that only searches gives a sign of life this often, as a part of its lease: what a search may take at
    /// most comes on top.
    private static let renewals = 6
    /// Each of them takes a client that moves a row in the very milliseconds of a batch.
    private static let mostConflicts = 10
    /// Few enough to be harmless on a server of which nothing is known yet.
    private static let firstRows = 100

    init(_ run: CleanupRun, _ target: CleanupRun.Target, claim: RunClaim?, clock: RunClock) {
        self.run = run
        self.target = target
        self.claim = claim
        self.clock = clock
        size = BatchSize(target: run.limits.batchTarget, first: Self.firstRows, most: run.limits.batchRows)
    }

    private var name: TableName { run.table.name }
    private var unfiltered: TableName? { target.refusesFilters ? name : nil }
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
        try await renewClaim(over: connection)
        return oldest
    }

    // MARK: Finding

    /// - Returns: whether everything found was deleted.
    private mutating func walk(
        over connection: isolated Connection, progress: inout RunProgress, oldest: inout UTCInstant?
    ) async throws(RunFailure) -> Bool {
        var isCleared = true
        var plan = SearchPlan(
            limit: run.limits.searchRows, batchTarget: target.hasParts ? nil : run.limits.batchTarget)
        // Ends because each step begins behind the one before, or is smaller, or leaves fewer due rows.
        while let step = plan.step {
            try await renewClaim(over: connection)
            let started = ContinuousClock.now
            let search: (sql: String, parameters: [Parameter])
            switch step {
            case .countPages:
                try await countPages(&plan, over: connection)
                continue
            case .batch(let pages):
                isCleared =
                    try await delete(on: pages, &plan, over: connection, progress: &progress, oldest: &oldest)
                    && isCleared
                continue
            case .oldest(let limit):
                search = (Statements.searchOldest(name, rule: target.rule), [cutoff, .integer(limit)])
            case .pages(let pages, let limit):
                search = (
                    Statements.searchPages(name, rule: target.rule),
                    [cutoff] + Self.bounds(of: pages) + [.integer(limit)]
                )
            }
            guard
                let result = try await connection.search(
                    clock, search.sql, search.parameters, unfiltered: unfiltered, shrinking: &plan)
            else { continue }
            let found = try result.reading { result in
                try result.rows.map {
                    Found(addresses: try RowAddresses($0), oldest: try $0.instantIfPresent("oldest"))
                }
            }
            let count = found.reduce(0) { $0 + $1.addresses.count }
            guard plan.found(count, after: started.duration(to: .now)) else { continue }
            for since in found.compactMap(\.oldest) { oldest = min(oldest ?? since, since) }
            if !progress.isSearchComplete {
                progress.rowsFound += count
                progress.isSearchComplete = plan.step == nil
            }
            run.onProgress(progress)
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
            try await renewClaim(over: connection)
            guard case .pages(let pages, _) = step else {
                try await countPages(&plan, over: connection)
                continue
            }
            let started = ContinuousClock.now
            let parameters = [cutoff] + Self.bounds(of: pages)
            guard
                let result = try await connection.search(
                    clock, sql, parameters, unfiltered: unfiltered, shrinking: &plan)
            else { continue }
            let row = try result.reading { try $0.onlyRow() }
            do {
                due += try row.integer("due")
                total += try row.integer("total")
            } catch {
                throw RunFailure(error)
            }
            _ = plan.found(0, after: started.duration(to: .now))
        }
        if Double(due) > share * Double(total) { throw .tooManyDue(name, due: due, total: total, limit: share) }
    }

    /// Before each step and each batch, whatever came of the one before: one that deletes nothing is no sign of life.
    private mutating func renewClaim(over connection: isolated Connection) async throws(RunFailure) {
        guard let claim, claim.renewed.duration(to: .now) > run.history.lease / Self.renewals else { return }
        let sent = ContinuousClock.now
        let results = try await connection.transaction(clock, HistoryStatements.renew(claim))
        guard results.first?.rows.count == 1 else { throw .claimLost }
        self.claim?.renewed = sent
    }

    // MARK: Deleting

    /// How many more rows may be deleted.
    private func room(_ progress: RunProgress) -> Int { run.job.maxRows.map { $0 - progress.rowsDeleted } ?? .max }

    /// Deletes in batches.
    ///
    /// - Returns: whether all of them were deleted.
    private mutating func delete(
        _ addresses: RowAddresses, over connection: isolated Connection, progress: inout RunProgress
    ) async throws(RunFailure) -> Bool {
        var isCleared = true
        var start = 0
        // Ends because each round goes on behind the one before, or takes fewer rows.
        while start < addresses.count {
            try await renewClaim(over: connection)
            let room = room(progress)
            if room <= 0 {
                isCapped = true
                return isCleared
            }
            let range = start..<min(start + min(size.count, room), addresses.count)
            var smaller = size
            guard
                let batch = try await delete(
                    .init(addresses, range), or: { smaller.batchTimedOut() }, over: connection, progress: &progress)
            else {
                size = smaller
                continue
            }
            size.batchEnded(range.count, after: batch.work, roundTrip: batch.roundTrip)
            isCleared = isCleared && batch.deleted == range.count
            start = range.upperBound
            await rest(over: connection)
        }
        return isCleared
    }

    /// Deletes the due rows on some pages, in one batch.
    ///
    /// - Returns: whether nothing was left behind.
    private mutating func delete(
        on pages: Range<Int>, _ plan: inout SearchPlan, over connection: isolated Connection,
        progress: inout RunProgress, oldest: inout UTCInstant?
    ) async throws(RunFailure) -> Bool {
        let limit = min(run.limits.batchRows, room(progress))
        guard limit > 0 else {
            plan.stopDeleting()
            return true
        }
        guard
            let batch = try await delete(
                .init(on: pages, limit: limit), or: { plan.timedOut() }, over: connection, progress: &progress)
        else { return true }
        if let since = batch.oldest { oldest = min(oldest ?? since, since) }
        let isCut = batch.locked == limit
        if !progress.isSearchComplete {
            progress.rowsFound += isCut ? batch.deleted : batch.due
            run.onProgress(progress)
        }
        plan.batchEnded(due: batch.due, limit: limit, isCut: isCut, after: batch.work, roundTrip: batch.roundTrip)
        await rest(over: connection)
        return isCut || batch.deleted == batch.due
    }

    /// An owner that rests is alive: never longer than a transaction may be silent.
    private func rest(over connection: isolated Connection) async {
        guard run.limits.batchPause > .zero else { return }
        await connection.rest(for: min(run.limits.batchPause, clock.transactionLimit))
    }

    /// What a batch did.
    private struct Batch: Sendable {
        let due: Int
        let locked: Int
        let deleted: Int
        let held: Int
        let oldest: UTCInstant?
        /// How long the server was at it, and what the way there and back took beside.
        let work: Duration
        let roundTrip: Duration
    }

    /// One batch: one transaction in one round trip, in which nothing is deleted unless the run is still ours.
    ///
    /// From its first lock to its commit it waits for nobody but the server itself: whatever happens to us or to the
    /// network, it holds no row for longer.
    /// - Parameter shrink: called when the server ended it for its length.
    /// - Returns: `nil` when it was too long, and a smaller one may succeed; or when it has to be repeated.
    private mutating func delete(
        _ rows: BatchStatement.Rows, or shrink: () -> Bool, over connection: isolated Connection,
        progress: inout RunProgress
    ) async throws(RunFailure) -> Batch? {
        let statement = BatchStatement(
            table: name, rule: target.rule, cutoff: "(timestamptz '\(target.cutoff)')", rows: rows)
        let script = statement.script(claim: claim, skipped: progress.rowsSkipped)
        let started = ContinuousClock.now
        let results: [QueryResult]
        do {
            results = try await connection.transaction(clock, script, unfiltered: unfiltered)
        } catch {
            if error.sqlState == "40001", conflicts < Self.mostConflicts {
                conflicts += 1
                return nil
            }
            guard clock.isTooLong(error, since: started), clock.remaining > .zero, shrink() else { throw error }
            return nil
        }
        conflicts = 0
        let duration = started.duration(to: .now)
        // With history, the lock's setting and the lock come first.
        if claim != nil, try results.reading(at: 1, { $0.rows.count }) != 1 { throw .claimLost }
        let row = try results.reading(at: claim == nil ? 0 : 2) { try $0.onlyRow() }
        let kept: Int
        let batch: Batch
        do {
            let work = Duration.microseconds(try row.integer("work"))
            batch = Batch(
                due: try row.integer("due"), locked: try row.integer("locked"), deleted: try row.integer("deleted"),
                held: try row.integer("held"), oldest: try row.instantIfPresent("oldest"), work: work,
                roundTrip: max(duration - work, .zero))
            kept = try row.integer("kept")
        } catch {
            throw RunFailure(error)
        }
        // It accounts for nothing then, so its heartbeat stays too.
        guard batch.due > 0 else { return batch }
        claim?.renewed = started
        progress.rowsDeleted += batch.deleted
        progress.rowsSkipped += batch.held
        progress.batches += 1
        run.onBatch(duration, batch.deleted)
        run.onProgress(progress)
        if kept > 0 { throw .deletionVetoed(name, rows: kept) }
        return batch
    }
}
