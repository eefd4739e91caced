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
        var sessions = try await SignalCancellation.run { [user] in
            try await table.sessions(
                ofUser: user, transient: configuration.transient, dormant: configuration.dormant, now: now,
                access: access)
        }
        if !output.isJSON {
            // The next to be removed comes first; what stays comes last.
            let (removed, kept) = (sessions.filter { $0.removedAt != nil }, sessions.filter { $0.removedAt == nil })
            sessions = removed.sorted { ($0.dueOrder, $0.sessionID) < ($1.dueOrder, $1.sessionID) } + kept
        }
        try output.print(sessions.map { SessionRow(session: $0, now: now) })
        if sessions.isEmpty { setup.logger.info("The user has no session.") }
    }
}

extension ListedSession {
    /// The time from which it is due, which is known where the time of its removal is.
    fileprivate var dueOrder: Int64 { keptUntil?.wholeSecondsSinceEpoch ?? 0 }
}

private struct SessionRow: OutputRow {
    let session: ListedSession
    let now: UTCInstant

    static let header = ["SESSION", "SERVER", "REMOVED (UTC)"]
    static let flexibleColumn = 1

    var json: JSON {
        .object([
            ("session_id", .string(session.sessionID)), ("server_id", JSON(session.serverID)),
            ("server_name", JSON(session.serverName)), ("active", .boolean(session.isActive)),
            ("created_at", JSON(session.createdAt.map { "\($0)" })),
            ("updated_at", JSON(session.updatedAt.map { "\($0)" })),
            ("expires_at", JSON(session.expiresAt.map { "\($0)" })), ("job", .string(session.job)),
            ("kept_until", JSON(session.keptUntil.map { "\($0)" })),
            ("removed_at", JSON(session.removedAt.map { "\($0)" })), ("reason", .string(session.reason)),
        ])
    }

    var tableRow: Table.Row {
        var cells: [Table.Cell] = [
            .text(session.sessionID), .text(session.serverName ?? session.serverID ?? "unnamed"),
        ]
        guard let keptUntil = session.keptUntil, let removedAt = session.removedAt else {
            return Table.Row(cells: cells + [.text("never")], note: session.reason)
        }
        cells.append(
            keptUntil < now
                ? .text("expired since \(keptUntil.minuteText)", .yellow)
                : .text("\(removedAt.minuteText) if not \(session.isActive ? "used" : "active")"))
        return Table.Row(cells: cells)
    }
}
