import SeededRandom
import SessionCleanup
import TestServers
import Testing

@testable import Settings

/// A mutated file is refused with faults, or it is in force as it stands: no crash, no silent default.
@Suite(.slow) struct MutatedFileTests {
    private static let filesPerSeed = 25_000

    private static let originals = [
        """
        database: { table: public.mcp_sessions, session-schema: auto, connect-timeout: 15s }
        jobs:
          mcp-cleanup-transient-sessions: { enabled: true, schedule: "*/5 * * * *", deadline: 4m, catch-up: once }
          mcp-cleanup-dormant-sessions:   { schedule: "0 0 * * *", max-fraction: 0.5, after: 30d }
          codes: { table: app."Codes", where: "expires_at < $1 AND NOT kept", schedule: "@daily", max-rows: 9 }
        http: { listen: "[::1]:9764" }
        """,
        """
        batch:
          target-duration: 50ms
          max-rows: 10000 # rows
          pause: 0ms
        jobs:
          mcp-cleanup-transient-sessions:
            schedule: |-
              @hourly
            time-zone: UTC
            max-rows: off
        log: { level: info, format: auto }
        notify: { success-url: 'https://hc-ping.com/x?y' }
        """,
    ]

    private static let pieces = [
        ":", ": ", "\n", "  ", "\t", "{", "}", "[", "]", ",", "\"", "'", "#", "*", "&a ", "!!str ", "|", ">", "- ",
        "? ",
        "---\n", "...\n", "~", "null", "yes", "0x1", "1:30", "010", "1e3", "99999999999999999999", "off", "\0", "\u{1}",
        "é", "\u{2028}", "\u{FEFF}", "<<: ", "%YAML 1.2\n", "\\x00", "UTC", "jobs", "batch", "max-rows", "d", "ms",
    ]

    @Test(arguments: SeededRandom.seeds(4, for: "MutatedFileTests"))
    func isRefusedOrInForceAsItStands(seed: UInt64) async {
        var generator = SeededRandom(seed: seed)
        var accepted = 0
        for _ in 0..<Self.filesPerSeed {
            // Tasks have one thread for each core; tests that measure time wait for one.
            await Task.yield()
            let bytes = generator.mutated(Self.originals.map { Array($0.utf8) }, Self.pieces)
            do throws(ConfigurationFaults) {
                let effective = try EffectiveConfiguration(file: (path: "c.yaml", bytes: bytes))
                accepted += 1
                expectInForce(effective, bytes)
            } catch {
                if error.faults.isEmpty || error.description.isEmpty { Issue.record("refused without a fault") }
            }
        }
        // A generator that makes only invalid files would prove nothing.
        #expect(accepted > Self.filesPerSeed / 50 && accepted < Self.filesPerSeed / 2, "\(accepted)")
    }

    private func expectInForce(_ effective: EffectiveConfiguration, _ bytes: [UInt8]) {
        let text = String(decoding: bytes, as: UTF8.self)
        do {
            let fromFile = effective.entries.count { $0.source.hasPrefix("c.yaml:") }
            let values = Self.values(in: try YAMLNode.compose(bytes))
            if fromFile != values {
                Issue.record("\(values) values stand in the file, \(fromFile) are in force:\n\(text)")
            }
            // With the secrets, which the program never shows.
            let written = EffectiveConfiguration.yaml(
                of: Setting.all(of: effective.configuration).map {
                    ($0.key, $0.text(effective.configuration), "default")
                })
            let again = try EffectiveConfiguration(
                file: (path: "c.yaml", bytes: Array(written.utf8)))
            if again.configuration != effective.configuration { Issue.record("\(text)\nis written as\n\(written)") }
        } catch {
            Issue.record("\(error) for what was accepted:\n\(text)")
        }
    }

    private static func values(in node: YAMLNode) -> Int {
        switch node.content {
        case .text: 1
        case .empty, .list: 0
        case .mapping(let members): members.reduce(0) { $0 + values(in: $1.value) }
        }
    }
}
