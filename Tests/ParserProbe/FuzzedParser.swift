import CleanupSchedule
import Glibc
import SeededRandom
import SessionCleanup
import Settings
import Time

/// A parser of the program, its inputs, and the properties that each result must have.
enum FuzzedParser: String {
    case configuration, schedule, zone, condition

    /// The password of a URL that stands somewhere in a text.
    private static let secret = "CANARY"

    func input(_ random: inout SeededRandom) -> [UInt8] {
        switch self {
        case .configuration:
            var bytes = random.mutated(Self.configurations, Self.pieces)
            if random.chance(2) {
                let url = random.pick(["postgresql://role:\(Self.secret)@host/db", "role:\(Self.secret)@host"])
                // The whole URL, at an end or before a space or a quotation mark, so that it can be recognized.
                let places = [0, bytes.count] + bytes.indices.filter { bytes[$0] == 0x20 || bytes[$0] == 0x22 }
                bytes.insert(contentsOf: url.utf8, at: random.pick(places))
            }
            return bytes
        case .schedule: return random.mutated(Self.schedules, Self.pieces)
        case .zone: return random.mutated(Self.zones, ["CET-1CEST,M3.5.0,M10.5.0/3", "<-00>0", "\0\0\0\0", "TZif2"])
        case .condition: return random.mutated(Self.conditions, Self.pieces)
        }
    }

    /// Reads the input as the program would, and uses what was read.
    ///
    /// - Returns: what is wrong with the result; `nil` for what is right.
    /// - Throws: the parser's refusal.
    func problem(with input: [UInt8], _ random: inout SeededRandom) throws -> String? {
        let text = String(decoding: input, as: UTF8.self)
        switch self {
        case .configuration:
            let effective = try EffectiveConfiguration(file: (path: "c.yaml", bytes: input))
            return problem(inWords: effective.yaml)
        case .schedule:
            let schedule = try Schedule(text)
            return Self.problem(of: schedule, in: nil, &random)
        case .zone:
            let rules = try TimeZoneRules(tzif: input)
            for schedule in try ["30 2 * * *", "@daily", "*/7 * 29 2 *", "0 0 1 1 *"].map({ try Schedule($0) }) {
                if let problem = Self.problem(of: schedule, in: rules, &random) { return problem }
            }
            return nil
        case .condition:
            let condition = try RowCondition(parsing: text)
            if condition.sql != text { return "read as \(condition.sql)" }
            return Self.outsideQuotes(text).flatMap { Self.problem(ofCode: $0) }
        }
    }

    /// Returns what is wrong with a text that the program shows; `nil` if nothing is.
    func problem(inWords text: String) -> String? {
        if text.contains(Self.secret) { return "a secret in: \(text)" }
        // A refusal quotes a condition or a schedule as it stands; printing makes control characters visible.
        return self == .configuration && text.visibleLines != text ? "a control character in: \(text)" : nil
    }

    private static func problem(
        of schedule: Schedule, in rules: TimeZoneRules?, _ random: inout SeededRandom
    ) -> String? {
        for _ in 0..<4 {
            let start = UTCInstant(
                secondsSinceEpoch: Int64.random(in: -62_000_000_000...250_000_000_000, using: &random))
            guard let next = schedule.next(after: start, in: rules) else { continue }
            if next <= start { return "the next fire time after \(start) is \(next)" }
            guard let previous = schedule.previous(atOrBefore: next, in: rules), previous == next else {
                return "\(next) is a fire time, and not found again"
            }
        }
        return nil
    }

    /// The text without what stands in quotes; `nil` if a quote is not closed.
    private static func outsideQuotes(_ text: String) -> String.UnicodeScalarView? {
        var (code, quote) = ("".unicodeScalars, Unicode.Scalar?.none)
        for scalar in text.unicodeScalars {
            if let open = quote {
                if scalar == open { quote = nil }
            } else if scalar == "'" || scalar == "\"" {
                quote = scalar
                code.append(" ")
            } else {
                code.append(scalar)
            }
        }
        return quote == nil ? code : nil
    }

    /// Returns what could end the parentheses around a condition, or hide the SQL after them; `nil` if nothing could.
    private static func problem(ofCode code: String.UnicodeScalarView) -> String? {
        var depth = 0
        for scalar in code {
            if scalar == "(" { depth += 1 }
            if scalar == ")" { depth -= 1 }
            if depth < 0 { return "it leaves its parentheses" }
        }
        let text = String(code)
        if depth != 0 { return "it leaves a parenthesis open" }
        return [";", "--", "/*", "\\", "\0"].first(where: text.contains).map { "it has \($0)" }
    }
}

extension FuzzedParser {
    fileprivate static let configurations = [
        """
        database: { table: public.mcp_sessions, session-schema: auto, connect-timeout: 15s }
        jobs:
          mcp-cleanup-transient-sessions: { enabled: true, schedule: "*/5 * * * *", deadline: 4m, catch-up: once }
          codes: { table: app."Codes", where: "expires_at < $1 AND NOT kept", schedule: "@daily", max-rows: 9 }
        http: { listen: "[::1]:9764" }
        """,
        """
        batch:
          target-duration: 50ms
          pause: 0ms # none
        claim: { lease: 60s }
        history: { mode: auto, retention: 30d }
        jobs:
          mcp-cleanup-dormant-sessions:
            schedule: |-
              @hourly
            time-zone: UTC
        notify: { success-url: 'https://hc-ping.com/x?y' }
        """,
    ].map { Array($0.utf8) }

    fileprivate static let schedules = [
        "*/5 * * * *", "0 0 $ feb 1-5/2", "1,2,3-59/7 0-23 1-31 jan-dec sun,mon", "30 seconds", "@hourly",
        "10-40/10 */2 29 2 7",
    ].map { Array($0.utf8) }

    fileprivate static let conditions = [
        "expires_at < $1 AND NOT kept", "a < $1 AND b = 'it''s' AND \"C\"\"d\"[1] > 0x1F",
        "lower(x::text) ~ 'a' OR t < $1",
        "t < $1 AND EXISTS (SELECT FROM app.users AS u WHERE u.id = codes.id)", "(a, b) = (1e5, $1)",
    ].map { Array($0.utf8) }

    /// Zone files of the system; without them the fuzzer has nothing to mutate, and the test fails.
    fileprivate static let zones = [
        "UTC", "Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "Africa/Casablanca",
    ]
    .compactMap { read("/usr/share/zoneinfo/\($0)") }

    private static func read(_ path: String) -> [UInt8]? {
        let file = open(path, O_RDONLY)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 64 << 10)
        let count = Glibc.read(file, &bytes, bytes.count)
        return count > 0 ? Array(bytes[..<count]) : nil
    }

    fileprivate static let pieces = [
        ":", ": ", "\n", "  ", "\t", "{", "}", "[", "]", ",", "\"", "'", "#", "*", "&a ", "!!str ", "|", ">", "- ",
        "? ",
        "---\n", "...\n", "~", "null", "yes", "0x1", "1:30", "010", "1e3", "99999999999999999999", "off", "\0", "\u{1}",
        "é", "\u{2028}", "\u{FEFF}", "<<: ", "%YAML 1.2\n", "\\x00", "UTC", "jobs", "batch", "max-rows", "d", "ms",
        "\u{9B}",
        "\u{202E}", "\u{E0041}", "*/", "/*", "--", ";", "$1", "$2", "$$", "(", ")", "U&", "select", "EXISTS (", "::",
        "1-",
        "/0", "@", "mon", "60", "seconds", "$",
    ]
}
