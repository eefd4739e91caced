package import CleanupSchedule
package import Postgres

/// One execution of a job: finds the rows that are due at one cutoff, and deletes them in bounded batches.
package struct CleanupRun: Sendable {
    package let job: Job
    package let table: SessionTable
    package let limits: RunLimits
    /// The host's wall clock, compared with the database's.
    package let hostClock: @Sendable () -> UTCInstant
    /// Called after each search and each batch.
    package let onProgress: @Sendable (RunProgress) -> Void
    /// Called when the database's clock is behind the host's by more than the limit, with the difference.
    package let onSlowDatabaseClock: @Sendable (Duration) -> Void

    package init(
        job: Job, table: SessionTable, limits: RunLimits,
        hostClock: @escaping @Sendable () -> UTCInstant,
        onProgress: @escaping @Sendable (RunProgress) -> Void = { _ in },
        onSlowDatabaseClock: @escaping @Sendable (Duration) -> Void = { _ in }
    ) {
        self.job = job
        self.table = table
        self.limits = limits
        self.hostClock = hostClock
        self.onProgress = onProgress
        self.onSlowDatabaseClock = onSlowDatabaseClock
    }

    /// What the run is about to work on.
    package struct Target: Sendable {
        package let cutoff: UTCInstant
        package let rule: Rule
        package let hasChildren: Bool
    }

    /// Finds out whether the run can do its work, and fixes its cutoff. Deletes nothing.
    ///
    /// - Parameter shape: what an inspection over this connection found a moment ago; becomes what this one found.
    func target(
        over connection: isolated Connection, clock: RunClock, shape: inout SessionTable.Shape?
    ) async throws(RunFailure) -> Target {
        let sent = hostClock()
        let known = shape.flatMap { $0.isFresh ? $0 : nil }
        let found =
            if let known {
                try await table.clock(for: known, over: connection, clock: clock)
            } else {
                try await table.inspect(for: .deleting, over: connection, clock: clock)
            }
        shape = found
        let comparison = ClockComparison(database: found.clock, sent: sent, received: hostClock())
        try comparison.refuseAhead(by: limits.maxClockSkew)
        if comparison.skew < .zero - limits.maxClockSkew { onSlowDatabaseClock(.zero - comparison.skew) }
        return Target(
            cutoff: found.clock, rule: job.rules.rule(for: found.generation), hasChildren: found.hasChildren)
    }

    // MARK: Deleting

    /// Deletes what is due at the target's cutoff and not held by others.
    ///
    /// Walks through the table once, forward; if anything was left behind (held, or moved by an update), once more.
    /// - Parameter progress: what is done so far; right after an error too.
    package func delete(
        _ target: Target, over connection: isolated Connection, clock: RunClock, progress: inout RunProgress
    ) async throws(RunFailure) {
        let isCleared = try await walk(target, over: connection, clock: clock, progress: &progress)
        progress.isSearchComplete = true
        if !isCleared {
            progress.rowsSkipped = 0
            _ = try await walk(target, over: connection, clock: clock, progress: &progress)
        }
    }

    /// - Returns: whether everything found was deleted.
    private func walk(
        _ target: Target, over connection: isolated Connection, clock: RunClock, progress: inout RunProgress
    ) async throws(RunFailure) -> Bool {
        var isCleared = true
        var position: (partition: UInt32, address: String)?
        // Ends because each search starts behind the last row of the one before.
        while true {
            let found = try await search(target, after: position, over: connection, clock: clock)
            let count = found.reduce(0) { $0 + $1.count }
            let isLast = count < limits.searchRows
            if !progress.isSearchComplete {
                progress.rowsFound += count
                progress.isSearchComplete = isLast
            }
            onProgress(progress)
            for addresses in found {
                for start in stride(from: 0, to: addresses.count, by: limits.batchRows) {
                    let batch = start..<min(start + limits.batchRows, addresses.count)
                    let result = try await delete(batch, of: addresses, target, over: connection, clock: clock)
                    progress.rowsDeleted += result.deleted
                    progress.rowsSkipped += result.held
                    progress.batches += 1
                    isCleared = isCleared && result.deleted == batch.count
                    onProgress(progress)
                }
            }
            guard !isLast, let end = found.last, let address = end.last else { return isCleared }
            position = (end.partition, address)
        }
    }

    private func search(
        _ target: Target, after position: (partition: UInt32, address: String)?, over connection: isolated Connection,
        clock: RunClock
    ) async throws(RunFailure) -> [RowAddresses] {
        let sql = Statements.search(
            table.name, rule: target.rule, hasChildren: target.hasChildren, isFirst: position == nil)
        var parameters: [Parameter] = [.timestamp("\(target.cutoff)"), .integer(limits.searchRows)]
        if let position { parameters += [.objectIdentifier(position.partition), .rowAddress(position.address)] }
        return try await connection.finishTransaction(clock, sql, parameters)
            .reading { try $0.rows.map(RowAddresses.init) }
    }

    /// One batch: one transaction.
    private func delete(
        _ batch: Range<Int>, of addresses: RowAddresses, _ target: Target, over connection: isolated Connection,
        clock: RunClock
    ) async throws(RunFailure) -> (deleted: Int, held: Int) {
        let parameters: [Parameter] = [
            .timestamp("\(target.cutoff)"), .rowAddresses(addresses.literal(batch)),
            .objectIdentifier(addresses.partition),
        ]
        try await connection.begin(clock)
        do {
            let deletion = Statements.deleteBatch(from: table.name, rule: target.rule)
            var row = try await connection.statement(clock, deletion, parameters).onlyRow()
            var deleted = try row.integer("deleted")
            if try row.integer("locked") > deleted {
                // Something keeps what we hold; or, hardly ever, a row moved to an address that another one had left.
                // A second statement sees it there.
                row = try await connection.statement(clock, deletion, parameters).onlyRow()
                deleted += try row.integer("deleted")
                let vetoed = try row.integer("locked") - row.integer("deleted")
                if vetoed > 0 { throw RunFailure.deletionVetoed(table.name, rows: vetoed) }
            }
            var held = 0
            if deleted < batch.count {
                let remaining = Statements.countRemaining(in: table.name, rule: target.rule)
                held = try await connection.statement(clock, remaining, parameters).onlyRow().integer("remaining")
            }
            try await connection.commit(clock)
            return (deleted, held)
        } catch {
            let failure = clock.failure(error)
            await connection.rollBack(clock)
            throw failure
        }
    }
}

extension RunFailure {
    /// Wraps what a mixed `do` block throws.
    init(_ error: any Error) {
        switch error {
        case let failure as RunFailure: self = failure
        case PostgresError.canceled: self = .canceled
        case let error as PostgresError: self = .database(error)
        default: self = .database(.unexpectedAnswer("\(error)"))
        }
    }
}
