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
    @Option(help: ArgumentHelp("Only the sessions of this user_id.", valueName: "id")) var user: String?
    @Option(help: ArgumentHelp("The number of sessions to show.", valueName: "number")) var limit = 20
    @OptionGroup var listing: ListingOptions

    func validate() throws { try checkNumber("--limit", limit) }

    func run() async throws {
        let setup = try setup()
        let (access, table) = (try setup.databaseAccess(), setup.table.name)
        let sessions = try await Signals.canceling { [limit, user] in
            try await access.latestRemoved(limit, ofUser: user, beside: table)
        }
        try print(sessions, header: ["REMOVED (UTC)", "SESSION", "USER", "RUN"], flexible: 2) { session in
            [
                "session_id": session.sessionID, "user_id": session.userID, "server_id": session.serverID,
                "server_name": session.serverName, "server_url": session.serverURL, "created_at": session.createdAt,
                "updated_at": session.updatedAt, "expires_at": session.expiresAt, "removed_at": session.removedAt,
                "run_id": session.runID, "job": session.job,
            ]
        } row: { session in
            let job = session.job.map { setup.withShortNames($0).cut(to: 9) + " " } ?? ""
            return Table.Row(cells: [
                // A UUID has 36 characters.
                .text(session.removedAt.minuteText), .text((session.sessionID ?? "unnamed").cut(to: 36)),
                .text(session.userID ?? ""), .text("\(job)\(session.runID)"),
            ])
        }
        guard sessions.isEmpty else { return }
        let isOn = setup.configuration.history.removed != nil
        setup.logger.info("No removed session is recorded\(isOn ? "" : "; history.removed is off").")
    }
}
