import ArgumentParser
import Settings
import Logging
import SessionCleanup
import Time

struct SessionsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sessions",
        abstract: "List a user's sessions and when each will be removed. Never shows a credential.")

    @ParentCommand var root: RootCommand
    @OptionGroup var common: CommonOptions

    @Option(help: ArgumentHelp("The user_id whose sessions to list.", valueName: "id"))
    var user: String

    @Flag(help: "One JSON object a line on standard output.")
    var json = false

    func run() async throws {
        try root.refuseOnceFlags(with: "sessions", except: ["--json"])
        let isJSON = json || root.json
        let setup = try CommandSetup(common.merged(with: root.common))
        let (table, configuration, access) = (setup.table, setup.configuration, try setup.databaseAccess())
        let sessions = try await SignalCancellation.run { [user] in
            try await table.sessions(
                ofUser: user, transient: configuration.transient, dormant: configuration.dormant, now: .now,
                access: access)
        }
        if isJSON {
            for session in sessions { try StandardStream.output.write("\(session.json)\n") }
        } else {
            var columns = Columns()
            for session in sessions { columns.append(session.cells) }
            for line in columns.lines() { try StandardStream.output.write(line + "\n") }
        }
        if sessions.isEmpty { setup.logger.info("The user has no session.") }
    }
}

extension ListedSession {
    fileprivate var json: JSON {
        .object([
            ("session_id", .string(sessionID)), ("server_id", JSON(serverID)), ("server_name", JSON(serverName)),
            ("active", .boolean(isActive)), ("created_at", JSON(createdAt.map { "\($0)" })),
            ("updated_at", JSON(updatedAt.map { "\($0)" })), ("expires_at", JSON(expiresAt.map { "\($0)" })),
            ("job", .string(job)), ("kept_until", JSON(keptUntil.map { "\($0)" })),
            ("removed_at", JSON(removedAt.map { "\($0)" })), ("reason", .string(reason)),
        ])
    }

    fileprivate var cells: [Columns.Cell] {
        let until = keptUntil.map { "kept until \($0.toTheSecond)" } ?? "kept for ever"
        let removal = removedAt.map { ", removed at \($0) by \(job)" } ?? ""
        return [
            .text(sessionID), .text(serverName ?? serverID ?? "unnamed server"),
            .text(isActive ? "active" : "not active"), .text("\(until)\(removal): \(reason)"),
        ]
    }
}
