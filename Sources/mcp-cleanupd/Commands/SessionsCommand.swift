import ArgumentParser
import Logging
import SessionCleanup
import Settings
import Time

struct SessionsCommand: AsyncParsableCommand, ListingCommand {
    static let configuration = CommandConfiguration(
        commandName: "sessions",
        abstract: "List a user's sessions and when each will be removed. Never shows a credential.",
        usage: "mcp-cleanupd sessions --user ID [--json]")

    @ParentCommand var root: RootCommand

    @Option(help: ArgumentHelp("The user_id whose sessions to list.", valueName: "id"))
    var user: String

    @OptionGroup var listing: ListingOptions

    func run() async throws {
        let setup = try setup()
        let (table, configuration, access) = (setup.table, setup.configuration, try setup.databaseAccess())
        let now = UTCInstant.now
        var sessions = try await Signals.canceling { [user] in
            try await table.sessions(
                ofUser: user, transient: configuration.transient, dormant: configuration.dormant, now: now,
                access: access)
        }
        if !isJSON {
            // The next to be removed comes first; what stays comes last.
            let (removed, kept) = (sessions.filter { $0.removedAt != nil }, sessions.filter { $0.removedAt == nil })
            sessions = removed.sorted { ($0.dueOrder, $0.sessionID) < ($1.dueOrder, $1.sessionID) } + kept
        }
        try print(
            sessions, header: ["SESSION", "SERVER", "REMOVED (UTC)"], flexible: 1, json: \.json,
            row: { $0.row(now: now) })
        if sessions.isEmpty { setup.logger.info("The user has no session.") }
    }
}

extension ListedSession {
    /// The time from which it is due, which is known where the time of its removal is.
    fileprivate var dueOrder: Int64 { keptUntil?.wholeSecondsSinceEpoch ?? 0 }

    fileprivate var json: JSON {
        [
            "session_id": sessionID, "server_id": serverID, "server_name": serverName, "active": isActive,
            "created_at": createdAt, "updated_at": updatedAt, "expires_at": expiresAt, "job": job,
            "kept_until": keptUntil, "removed_at": removedAt, "reason": reason,
        ]
    }

    fileprivate func row(now: UTCInstant) -> Table.Row {
        let cells: [Table.Cell] = [.text(sessionID), .text(serverName ?? serverID ?? "unnamed")]
        guard let keptUntil, let removedAt else { return Table.Row(cells: cells + [.text("never")], note: reason) }
        let removal: Table.Cell =
            keptUntil < now
            ? .text("expired since \(keptUntil.minuteText)", .yellow)
            : .text("\(removedAt.minuteText) if not \(isActive ? "used" : "active")")
        return Table.Row(cells: cells + [removal])
    }
}
