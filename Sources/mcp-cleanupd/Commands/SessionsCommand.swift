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
    @Option(help: ArgumentHelp("The user_id whose sessions to list.", valueName: "id")) var user: String
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
            let place = { (session: ListedSession) in
                (session.keptUntil?.wholeSecondsSinceEpoch ?? 0, session.sessionID)
            }
            sessions = removed.sorted { place($0) < place($1) } + kept
        }
        try print(sessions, header: ["SESSION", "SERVER", "REMOVED (UTC)"], flexible: 1) { session in
            [
                "session_id": session.sessionID, "server_id": session.serverID, "server_name": session.serverName,
                "active": session.isActive, "created_at": session.createdAt, "updated_at": session.updatedAt,
                "expires_at": session.expiresAt, "job": session.job, "kept_until": session.keptUntil,
                "removed_at": session.removedAt, "reason": session.reason,
            ]
        } row: { session in
            let name: Table.Cell = .text(session.serverName ?? session.serverID ?? "unnamed")
            guard let keptUntil = session.keptUntil, let removedAt = session.removedAt else {
                return Table.Row(cells: [.text(session.sessionID), name, .text("never")], note: session.reason)
            }
            let removal: Table.Cell =
                keptUntil < now
                ? .text("expired since \(keptUntil.minuteText)", .yellow)
                : .text("\(removedAt.minuteText) if not \(session.isActive ? "used" : "active")")
            return Table.Row(cells: [.text(session.sessionID), name, removal])
        }
        if sessions.isEmpty { setup.logger.info("The user has no session.") }
    }
}
