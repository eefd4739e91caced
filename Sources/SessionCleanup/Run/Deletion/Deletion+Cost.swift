/// How the size of batches follows what they cost.
extension Deletion {
    /// A batch was rolled back.
    mutating func fail(_ rows: Int, _ obstacle: BatchRunner.Obstacle) {
        if case .tooLong = obstacle {
            size.batchFailed(rows, isTooLong: true)
        } else {
            size.batchFailed(rows)
        }
    }

    /// Executes a batch again after its row was deleted: its cost is then the constant part, which each batch costs.
    mutating func measureConstant(
        _ batch: ArraySlice<RowAddress>, of relation: BatchSQL.Relation
    ) async throws(RunFailure) {
        let outcome = try await runner.execute(
            .addresses(batch, inOnePass: false), of: relation, limit: nil, waitsBriefly: true)
        guard case .done(let done) = outcome else { return }
        try record(done, inOnePass: false)
        if done.locked == 0 { size.emptyBatchEnded(cost: done.cost) }
    }
}
