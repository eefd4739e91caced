import ArgumentParser
import Logging
import SessionCleanup
import Settings
import Time

struct RemovedCommand: AsyncParsableCommand, ListingCommand {
    static let configuration = CommandConfiguration(
        commandName: "removed",
        abstract: "Show which sessions were removed, when and by which run. Never shows a credential.",
        usage: "mcp-cleanupd removed [--user ID] [--limit NUMBER] [--json]",
        discussion: "Reads mcp_cleanup.removed, which runs fill while history.removed is a duration.")

    @ParentCommand var root: RootCommand

    @Option(help: ArgumentHelp("Only the sessions of this user_id.", valueName: "id"))
    var user: String?

    @Option(help: ArgumentHelp("The number of sessions to show.", valueName: "number"))
    var limit = 20

    @OptionGroup var listing: ListingOptions

    /// All of it is in memory once.
    private static let largestLimit = 10_000

    func validate() throws {
        guard (1...Self.largestLimit).contains(limit) else {
            throw ValidationError("--limit is \(limit); expected a whole number from 1 to \(Self.largestLimit).")
        }
    }

    func run() async throws {
        let setup = try setup()
        let removed = RemovedSessions(try setup.databaseAccess(), of: setup.table.name)
        let sessions = try await SignalCancellation.run { [limit, user] in
            try await removed.latest(limit, ofUser: user)
        }
        try output.print(sessions.map { RemovedRow(session: $0, shorten: setup.withShortNames) })
        guard sessions.isEmpty else { return }
        let isOn = setup.configuration.historyRemoved != nil
        setup.logger.info("No removed session is recorded\(isOn ? "" : "; history.removed is off").")
    }
}

private struct RemovedRow: OutputRow {
    let session: RemovedSession
    let shorten: (String) -> String

    static let header = ["REMOVED (UTC)", "SESSION", "USER", "RUN"]
    static let flexibleColumn = 2

    var json: JSON {
        .object([
            ("session_id", JSON(session.sessionID)), ("user_id", JSON(session.userID)),
            ("server_id", JSON(session.serverID)), ("server_name", JSON(session.serverName)),
            ("server_url", JSON(session.serverURL)), ("created_at", JSON(session.createdAt.map { "\($0)" })),
            ("updated_at", JSON(session.updatedAt.map { "\($0)" })),
            ("expires_at", JSON(session.expiresAt.map { "\($0)" })), ("removed_at", .string("\(session.removedAt)")),
            ("run_id", .integer(session.runID)), ("job", JSON(session.job)),
        ])
    }

    var tableRow: Table.Row {
        let job = session.job.map { shorten($0).cut(to: 9) + " " } ?? ""
        return Table.Row(cells: [
            // A UUID has 36 characters.
            .text(session.removedAt.minuteText), .text((session.sessionID ?? "unnamed").cut(to: 36)),
            .text(session.userID ?? ""), .text("\(job)\(session.runID)"),
        ])
    }
}
