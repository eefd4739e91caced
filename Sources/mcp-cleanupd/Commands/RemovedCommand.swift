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

    func validate() throws { try checkNumber("--limit", limit) }

    func run() async throws {
        let setup = try setup()
        let (access, table) = (try setup.databaseAccess(), setup.table.name)
        let sessions = try await Signals.canceling { [limit, user] in
            try await access.latestRemoved(limit, ofUser: user, beside: table)
        }
        try print(
            sessions, header: ["REMOVED (UTC)", "SESSION", "USER", "RUN"], flexible: 2, json: \.json,
            row: { $0.row(shorten: setup.withShortNames) })
        guard sessions.isEmpty else { return }
        let isOn = setup.configuration.history.removed != nil
        setup.logger.info("No removed session is recorded\(isOn ? "" : "; history.removed is off").")
    }
}

extension RemovedSession {
    fileprivate var json: JSON {
        [
            "session_id": sessionID, "user_id": userID, "server_id": serverID, "server_name": serverName,
            "server_url": serverURL, "created_at": createdAt, "updated_at": updatedAt, "expires_at": expiresAt,
            "removed_at": removedAt, "run_id": runID, "job": job,
        ]
    }

    fileprivate func row(shorten: (String) -> String) -> Table.Row {
        let job = job.map { shorten($0).cut(to: 9) + " " } ?? ""
        return Table.Row(cells: [
            // A UUID has 36 characters.
            .text(removedAt.minuteText), .text((sessionID ?? "unnamed").cut(to: 36)),
            .text(userID ?? ""), .text("\(job)\(runID)"),
        ])
    }
}
