import Foundation
import HostileServer
import Postgres
import TestServers
import Testing

/// A server that is sent a cleartext password can repeat it in any message.
@Suite struct LoginSecretTests {
    private static let password = "CANARY-of-many-letters"

    /// URLs without their scheme, one for each place where libpq may find the password.
    private static func sources() throws -> [String] {
        let file = try TemporaryDirectory.make() + "/pass word"
        try "*:*:*:*:\(password)\n".write(toFile: file, atomically: true, encoding: .utf8)
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file)
        let encoded = password.utf8.map { "%\($0 < 16 ? "0" : "")\(String($0, radix: 16))" }.joined()
        return [
            "role:\(password)@127.0.0.1:PORT/d?", "role:\(encoded)@127.0.0.1:PORT/d?",
            "role@127.0.0.1:PORT/d?password=\(password)&",
            "role@127.0.0.1:PORT/d?passfile=\(file.replacing(" ", with: "%20"))&",
        ]
    }

    /// It is at the beginning of a message, across the place where a message is cut, or across the end of the copy.
    @Test(arguments: [(0, 1), (1000, 1), (1020, 1), (4080, 1), (4094, 1), (0, 60), (0, 200), (5, 189)], [false, true])
    func isNotRepeated(
        place: (letters: Int, times: Int), letsIn: Bool
    ) async throws {
        let text = String(repeating: "x", count: place.letters)
        let server = HostileServer(
            serve: Scenario.repeatingThePassword(after: text, times: place.times, letsIn: letsIn))
        for source in try Self.sources() {
            let notices = Locked<[ServerMessage]>([])
            let url = "postgresql://\(source.replacing("PORT", with: "\(server.port)"))sslmode=disable"
            let (error, _) = await failure {
                let connection = try await open(url, environment: ["HOME": "/nonexistent"]) { notice in
                    notices.withLock { $0.append(notice) }
                }
                _ = try await connection.run("SELECT 1")
            }
            let texts = ["\(String(describing: error))"] + notices.withLock { $0.map { "\($0)" } }
            #expect(
                error?.sqlState == (letsIn ? "57014" : "28P01") && texts.count == (letsIn ? 2 : 1),
                "\(source): \(texts)")
            // No beginning of the password either.
            #expect(texts.allSatisfy { !$0.contains("CANA") }, "\(texts)")
        }
    }

    /// The likely slip of a whole URL in one of libpq's variables, or in a part of the URL that is percent-encoded.
    @Test(arguments: [
        ("postgresql://%72ole%3ACANARY%40host@127.0.0.1:PORT/d", [:]),
        ("postgresql://role@127.0.0.1:PORT/host%3Dh%20password%3DCANARY", [:]),
        ("postgresql://role@127.0.0.1:PORT/postgresql%3A%2F%2Frole%3ACANARY%40host%2Fd", [:]),
        ("postgresql://role@/d?host=postgresql%3A%2F%2Frole%3ACANARY%40h&hostaddr=127.0.0.1&port=PORT", [:]),
        (
            "postgresql://role@/d",
            ["PGHOST": "postgresql://role:CANARY@127.0.0.1,role:CANARY@h", "PGPORT": "PORT,PORT"]
        ),
    ])
    func isNotRepeatedFromAnotherPart(text: String, variables: [String: String]) async throws {
        let server = HostileServer(serve: Scenario.repeatingTheStartup)
        let url = try DatabaseURL(text.replacing("PORT", with: "\(server.port)"))
        #expect(!"\(url) \(url.place)".contains("CANARY"), "\(url)")
        let environment = variables.mapValues { $0.replacing("PORT", with: "\(server.port)") }
        let (error, _) = await failure {
            try await Connection.open(url, deadline: .now + .seconds(3), environment: environment, onNotice: { _ in })
        }
        #expect(error.map { !"\($0)".contains("CANARY") } ?? false, "\(String(describing: error))")
    }
}
