import Postgres
import Time

/// The deleting part of a run: finds the rows that are due at the run's cutoff, and deletes them in bounded batches.
///
/// A search by age finds the rows where few are due. Where many are, the pages of the table are walked, each once; then
/// searches by age find what moved meanwhile. A row that cannot be deleted is left, and the walk continues behind it.
struct Deletion: Sendable {
    let run: CleanupRun
    let target: Target
    let session: DatabaseSession
    var runner: BatchRunner
    var size: BatchSize
    private var left = LeftRows()
    private(set) var progress: RunProgress
    /// True if the job's `max-rows` ended the run with due rows left.
    private(set) var isCapped = false
    private var onePass: OnePass
    /// `nil` if rows may be due on pages that the walk has passed: then final searches follow it.
    var soleWriter: SoleWriter?
    /// True once a search found rows in an unknown part, and none of the parts, read again, was on another server.
    private var isLocal = false
    /// True if the last pass left out a page that the server could not search in time.
    private var hasUnsearchedPages = false

    /// The most due rows that one search by age returns. It reads the table's pages out of order, which up to here
    /// costs less than reading the whole table.
    private static let mostByAge = 20_000
    /// Rows of the first search that are deleted before pages are walked: they show what a row costs.
    private static let firstRows = 1000
    /// The most addresses in the text of one statement: some 30 KB.
    private static let mostAddresses = 2000
    /// The most final searches: each finds the rows that moved during the walk or search before it. Rows that still
    /// move after the last one are counted as skipped.
    private static let finalSearches = 3

    init(_ run: CleanupRun, _ target: Target, claim: RunClaim?, progress: RunProgress, in session: DatabaseSession) {
        self.run = run
        self.target = target
        self.session = session
        self.progress = progress
        runner = BatchRunner(run, target, claim: claim, in: session)
        onePass = OnePass(isPossible: target.mayPassOnce)
        size = BatchSize(
            limit: run.limits.batchTarget, most: run.limits.batchRows, records: target.recording != nil)
    }

    /// Deletes what is due and not locked by another transaction.
    ///
    /// - Parameter first: the result of the run's first search.
    /// - Returns: since when the oldest of the rows found was due.
    /// - Throws: `rowsRefused` at the end if the database would not delete some of the rows.
    mutating func execute(after first: CleanupRun.FirstSearch = .many) async throws(RunFailure) -> UTCInstant? {
        do {
            return try await deleteAll(after: first)
        } catch {
            guard [.misconfigured, .unexpected].contains(error.kind) else { throw error }
            // If a part is on another server, statements over the whole table fail in many ways: `parts` throws that.
            let parts = Set(try await target.survey.parts(in: session).map(\.oid))
            let isDropped = error.sqlState == "42P01" && parts.contains { $0 == target.survey.oid }
            throw isDropped && target.parts.contains { !parts.contains($0.oid) } ? .partDropped(target.table) : error
        }
    }

    private mutating func deleteAll(after first: CleanupRun.FirstSearch) async throws(RunFailure) -> UTCInstant? {
        if let share = run.job.maxFraction { try await refuseMore(than: share) }
        if let recording = target.recording { try await prune(recording) }
        let (oldest, end) = try await firstSearch(first)
        if end == .many {
            try await walkPages()
            (progress.rowsSkipped, progress.rowsRefused) = (left.skipped, left.refused)
        }
        var isDone = left.isEmpty
        if isDone, end != .reached { isDone = try await nothingHasMoved() }
        progress.isSearchComplete = true
        // Bounded, and ends as soon as a search finds nothing but rows that cannot be deleted.
        for _ in 0..<Self.finalSearches where !isDone && !isCapped {
            isDone = try await finalSearch()
        }
        if !isDone, !isCapped { try await countMoving() }
        try await renewClaim()
        if let failure = try await left.failure(target, in: session) { throw failure }
        if hasUnsearchedPages, !isCapped { throw tooSlow }
        return oldest
    }

    // MARK: By age

    private enum WalkEnd {
        /// No due row is left in that direction.
        case reached
        /// Many rows are due, and cheap to delete: pages are the faster way.
        case many
        /// Too many refused rows in a row, or the job's `max-rows`.
        case stopped
        /// The server could not find the rows in time.
        case tooSlow
    }

    private mutating func firstSearch(
        _ first: CleanupRun.FirstSearch
    ) async throws(RunFailure) -> (oldest: UTCInstant?, end: WalkEnd) {
        let found: FoundRows
        switch first {
        case .all(let rows): found = rows
        case .tooSlow: return (nil, .many)
        case .many:
            let sql = SearchSQL.unordered(
                target.rule.relation(target.table), target.rule, cutoff: target.cutoff, on: nil, limit: Self.mostByAge)
            guard let rows = try await search(sql) else { return (nil, .many) }
            found = rows
        }
        progress.rowsFound = found.rows.count
        let isMany = found.rows.count == Self.mostByAge
        progress.isSearchComplete = !isMany
        run.onProgress(progress)
        var oldest = found.oldest
        if isMany, target.rule.condition == nil {
            let sql = SearchSQL.oldest(target.table, target.rule, cutoff: target.cutoff)
            oldest = try await read(sql)?.reading { try $0.onlyRow().instantIfPresent("oldest") }
        }
        left.beginPass()
        let rows = isMany ? found.rows.prefix(Self.firstRows) : found.rows[...]
        guard try await delete(rows) else { return (oldest, .stopped) }
        return (oldest, isMany ? .many : .reached)
    }

    /// Looks once more for everything that is due, from the oldest on, and deletes it if it can.
    ///
    /// - Returns: true if it has found nothing but rows that cannot be deleted.
    private mutating func finalSearch() async throws(RunFailure) -> Bool {
        let deleted = progress.rowsDeleted
        hasUnsearchedPages = false
        left.beginPass()
        // A session that refers to another one is the younger of the two, and has to go first.
        let order: SearchSQL.Order = left.refersToItself ? .youngestFirst : .oldestFirst
        let end = try await walkByAge(order)
        if end == .tooSlow {
            try await walkPages(canBatch: false)
        } else if end == .stopped, !isCapped {
            // Refused rows at one end must not keep the job from the others: begin at the other end.
            left.beginOtherEnd()
            _ = try await walkByAge(order == .oldestFirst ? .youngestFirst : .oldestFirst)
        }
        progress.rowsSkipped = left.skipped
        progress.rowsRefused = left.refused
        run.onProgress(progress)
        return progress.rowsDeleted == deleted || left.isBlocked
    }

    /// Counts rows that are still due as skipped: they moved during the last search as well, perhaps behind it.
    private mutating func countMoving() async throws(RunFailure) {
        let sql = SearchSQL.countDue(target.table, target.rule, cutoff: target.cutoff)
        guard let found = try await read(sql) else { throw tooSlow }
        let due = try found.reading { try $0.onlyRow().integer("due") }
        progress.rowsSkipped = max(progress.rowsSkipped, due - left.refused)
        run.onProgress(progress)
    }

    private mutating func walkByAge(_ order: SearchSQL.Order) async throws(RunFailure) -> WalkEnd {
        var key: SearchSQL.Key?
        // Ends because each search begins behind the one before.
        while true {
            let sql = SearchSQL.byAge(
                target.table, target.rule, cutoff: target.cutoff, order: order, after: key, limit: Self.mostByAge)
            guard let found = try await search(sql) else { return .tooSlow }
            let rows: ArraySlice<RowAddress> = order == .oldestFirst ? found.rows[...] : found.rows.reversed()[...]
            guard try await delete(rows) else { return .stopped }
            guard found.rows.count == Self.mostByAge, let last = found.last else { return .reached }
            key = last
        }
    }

    /// - Returns: `nil` if the server ended the search at its time limit.
    private mutating func search(_ sql: String) async throws(RunFailure) -> FoundRows? {
        try await renewClaim()
        guard let result = try await read(sql, prefersIndexes: target.rule.condition == nil) else { return nil }
        let found = try result.reading(FoundRows.init)
        if !isLocal, found.hasRows(outside: Set(target.parts.map(\.oid))) {
            _ = try await target.survey.parts(in: session)
            isLocal = true
        }
        return found
    }

    // MARK: By pages

    private mutating func walkPages(canBatch: Bool = true) async throws(RunFailure) {
        left.beginPass()
        soleWriter = try await transactions()
        let pages = try await Survey.pages(of: target.parts, in: session)
        let alone = target.parts.filter { $0.kind == "r" && target.isNamedAlone($0) }
        let together = target.parts.filter { $0.kind == "r" && !target.isNamedAlone($0) }
        for part in alone {
            let isWorthIt = canBatch && size.count >= PageWalk.rowsWorthPages
            let relation = target.relation(of: part.oid)
            guard try await walk(relation, pages: pages[part.oid] ?? 0, canBatch: isWorthIt) else { return }
        }
        guard !together.isEmpty else { return }
        // Pages with the same number in all of these parts are searched together.
        let most = together.map { pages[$0.oid] ?? 0 }.max() ?? 0
        _ = try await walk(target.rule.relation(target.table), pages: most, canBatch: false)
    }

    /// - Returns: false if the walk has to stop.
    private mutating func walk(
        _ relation: BatchSQL.Relation, pages: Int, canBatch: Bool
    ) async throws(RunFailure) -> Bool {
        // The table may grow meanwhile: the final searches find the rows on its new pages.
        var walk = PageWalk(pages: pages, searchLimit: run.limits.searchRows, canBatch: canBatch)
        walk.resize(to: rowsOfPages)
        // Ends because each step begins behind the one before, or is smaller, or leaves fewer due rows, or locks them first.
        while let step = walk.step {
            try await renewClaim()
            switch step {
            case .search(let pages, let limit):
                let started = ContinuousClock.now
                let sql = SearchSQL.unordered(relation, target.rule, cutoff: target.cutoff, on: pages, limit: limit)
                guard let found = try await read(sql) else {
                    if !walk.searchTimedOut() {
                        walk.skip()
                        (soleWriter, hasUnsearchedPages) = (nil, true)
                    }
                    continue
                }
                let rows = try found.reading(FoundRows.init).rows
                guard walk.found(rows.count, after: started.duration(to: .now)) else { continue }
                guard try await delete(rows[...]) else { return false }
            case .batch(let pages):
                guard try await delete(pages, of: relation, &walk) else { return false }
            }
            walk.resize(to: rowsOfPages)
        }
        return true
    }

    /// The rows that a batch of pages should have: two thirds of a limit, as its pages may have more than those before.
    private var rowsOfPages: Int { max(1, min(size.count, min(run.limits.batchRows, room) * 2 / 3)) }

    /// Deletes what is due on some pages.
    ///
    /// - Returns: false if the walk has to stop.
    private mutating func delete(
        _ pages: Range<Int>, of relation: BatchSQL.Relation, _ walk: inout PageWalk
    ) async throws(RunFailure) -> Bool {
        let limit = min(run.limits.batchRows, room)
        guard limit > 0 else {
            isCapped = true
            return false
        }
        let canPassOnce = onePass.isWorthTrying
        let most = min(limit, size.count * 2)
        let rows: BatchSQL.Rows = canPassOnce ? .all(pages, limit: limit) : .unlocked(pages, limit: most)
        switch try await runner.execute(
            rows, of: relation, limit: size.timeLimit, waitsBriefly: canPassOnce || left.hasWaitedEnough)
        {
        case .done(let batch):
            try record(batch, inOnePass: canPassOnce)
            // Rows that a trigger keeps would fill each batch: they are left to a final search.
            let isCut = !canPassOnce && batch.locked == most && batch.deleted > batch.locked / 2
            walk.batchEnded(rows: batch.locked, isCut: isCut)
            size.batchEnded(batch.deleted, cost: batch.cost, roundTrip: batch.roundTrip)
            await pause()
        case .failed(.locked) where canPassOnce, .failed(.tooLong) where canPassOnce, .failed(.tooMany):
            // The same pages follow, with SKIP LOCKED and a LIMIT: there may be far more rows than expected.
            onePass.failed()
        case .failed(.toBeRepeated):
            break
        case .failed(let obstacle):
            // A row on these pages is to blame: find it by addresses.
            soleWriter = nil
            size.batchFailed(size.count, isTooLong: obstacle == .tooLong)
            return try await deleteOneByOne(pages, of: relation, &walk, isContended: obstacle == .locked)
        }
        return true
    }

    private mutating func deleteOneByOne(
        _ pages: Range<Int>, of relation: BatchSQL.Relation, _ walk: inout PageWalk, isContended: Bool
    ) async throws(RunFailure) -> Bool {
        let sql = SearchSQL.unordered(relation, target.rule, cutoff: target.cutoff, on: pages, limit: .max)
        walk.batchEnded(rows: pages.count, isCut: false)
        guard let found = try await read(sql) else { return true }
        return try await delete(try found.reading(FoundRows.init).rows[...], isContended: isContended)
    }

    // MARK: By addresses

    /// Deletes rows in batches; halves a batch that fails, down to the row, which is left.
    ///
    /// - Parameter isContended: true if a batch with these rows met a lock.
    /// - Returns: false if the walk has to stop: too many rows in a row were refused, or `max-rows` is reached.
    private mutating func delete(
        _ found: ArraySlice<RowAddress>, isContended: Bool = false
    ) async throws(RunFailure) -> Bool {
        var rows = left.withoutRefused(found)
        /// The end of a refused batch, whether a row of it was to blame, and the largest batch that passed since.
        var suspects: (end: Int, hasCulprit: Bool, largest: Int)?
        /// The number of rows of the first batch that failed since the last row was left.
        var failed = 0
        /// The end of a batch that met a lock.
        var contended = isContended ? rows.endIndex : rows.startIndex
        // Ends because each round leaves rows behind, or takes fewer of them.
        while let first = rows.first {
            try await renewClaim()
            guard room > 0 else {
                isCapped = true
                return false
            }
            if left.isBlocked { return false }
            let relation = target.relation(of: first.partition)
            var batch = rows.prefix(min(size.count, room, Self.mostAddresses))
            if relation.alone != nil { batch = batch.prefix { $0.partition == first.partition } }
            let isSingle = batch.count == 1
            let passesOnce = onePass.isWorthTryingByAddress && batch.startIndex >= contended
            let outcome = try await runner.execute(
                .addresses(batch, inOnePass: passesOnce), of: relation, limit: isSingle ? nil : size.timeLimit,
                waitsBriefly: passesOnce || batch.startIndex < contended || left.hasWaitedEnough)
            switch outcome {
            case .done(let done):
                try record(done, inOnePass: passesOnce, of: batch.count)
                left.passed(batch, done)
                size.batchEnded(batch.count, cost: done.cost, roundTrip: done.roundTrip)
                if let known = suspects { suspects?.largest = max(known.largest, batch.count) }
                rows = rows.dropFirst(batch.count)
                if size.needsEmptyBatch { try await measureConstant(batch, of: relation) }
                await pause()
            case .failed(.toBeRepeated): continue
            case .failed(.locked) where passesOnce: onePass.failed()
            case .failed(let obstacle) where isSingle:
                try await leave(first, obstacle)
                suspects?.hasCulprit = true
                size.culpritFound(in: failed)
                failed = 0
                rows = rows.dropFirst()
            case .failed(let obstacle):
                failed = max(failed, batch.count)
                size.batchFailed(batch.count, isTooLong: obstacle == .tooLong)
                if obstacle == .locked { contended = max(contended, batch.endIndex) }
                // Class 27: a trigger changed another row of the batch. That is no guard against mass deletes.
                if case .refused(let message) = obstacle, suspects == nil, message.sqlState.conditionClass != "27" {
                    suspects = (batch.endIndex, false, 0)
                }
            }
            if let all = suspects, rows.startIndex >= all.end {
                // Refused together, deleted in parts: a guard against mass deletes.
                if !all.hasCulprit { size.guardFound(largestThatPassed: all.largest) }
                suspects = nil
            }
        }
        return true
    }

    /// Leaves a row that cannot be deleted.
    private mutating func leave(_ row: RowAddress, _ obstacle: BatchRunner.Obstacle) async throws(RunFailure) {
        switch obstacle {
        case .locked, .toBeRepeated, .tooMany: left.skip()
        case .tooLong: left.refuse(row, .timeLimit)
        case .refused(let message):
            if !left.hasRefused { try await runner.probe() }
            let isByOwnKey = message.sqlState.conditionClass == "23" && message.table == target.table.table
            left.refuse(row, .error(message), mayPass: isByOwnKey)
        }
        progress.rowsSkipped = left.skipped
        progress.rowsRefused = left.refused
        run.onProgress(progress)
    }

    // MARK: Accounting

    /// How many more rows may be deleted.
    private var room: Int { run.job.maxRows.map { $0 - progress.rowsDeleted } ?? .max }

    /// - Parameter rows: the number of rows that the batch was to delete, if that is known.
    mutating func record(_ batch: BatchRunner.Batch, inOnePass: Bool, of rows: Int? = nil) throws(RunFailure) {
        let leftRow = rows.map { batch.deleted < $0 } ?? false
        onePass.batchEnded(inOnePass: inOnePass, leftRow: leftRow)
        if !inOnePass || leftRow || soleWriter?.batchEnded(batch) != true { soleWriter = nil }
        size.isAlone = soleWriter != nil
        if batch.deleted > 0 {
            progress.rowsDeleted += batch.deleted
            progress.batches += 1
            if !progress.isSearchComplete { progress.rowsFound = max(progress.rowsFound, progress.rowsDeleted) }
        }
        run.onBatch(batch.cost, batch.deleted)
        run.onProgress(progress)
        if let warning = batch.warning { throw .notReplicated(warning) }
    }

    /// Pauses between batches; never longer than a transaction may be silent, so that the owner does not count as dead.
    private func pause() async {
        guard run.limits.batchPause > .zero else { return }
        await session.connection.rest(for: min(run.limits.batchPause, session.budget.transactionLimit))
    }
}
