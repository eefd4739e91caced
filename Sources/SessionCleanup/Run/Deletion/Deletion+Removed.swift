import Postgres
import Time

/// The record of removed sessions.
extension Deletion {
    /// Removes records of removed sessions that are past their retention.
    mutating func prune(_ recording: RemovedSQL.Recording) async throws(RunFailure) {
        let script = Script(RemovedSQL.prune(before: target.cutoff - recording.retention), as: .row)
        for _ in 0..<RemovedSQL.mostPrunes {
            try await renewClaim()
            let pruned = try await session.write(script).read(.row) { try $0.onlyRow().integer("pruned") }
            if pruned < RemovedSQL.pruneLimit { break }
        }
    }
}
