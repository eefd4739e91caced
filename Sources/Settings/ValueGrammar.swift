import CleanupSchedule
import Heartbeats
import Postgres
import SessionCleanup

/// A type whose values can be read from the configuration, and written so that they read as themselves.
protocol ConfigurationValue: Sendable {
    /// The texts that are values, in words that follow "expected".
    static var form: String { get }
    /// Reads a value; `nil` for a text of another form. Throws the reason where there is more to say.
    static func read(_ text: String) throws -> Self?
    /// The value, as a text that `read` takes.
    var configured: String { get }
}

extension ConfigurationValue where Self: CustomStringConvertible {
    var configured: String { description }
}

/// The kind of text that was expected, in words that follow "expected".
struct Expectation: Error, CustomStringConvertible {
    var expected: String
    /// Why the text is not such a text. It may quote a part of it.
    var reason: String?

    var description: String { expected + (reason.map { ": \($0)" } ?? "") }
}

/// The way a key's value is written: one grammar for the file, the environment and what is shown.
struct ValueGrammar<Value>: Sendable {
    /// As of `ConfigurationValue`.
    let form: String
    let parse: @Sendable (String) throws -> Value?
    /// A text that reads as the value.
    let write: @Sendable (Value) -> String

    func read(_ text: String) throws(Expectation) -> Value {
        do {
            if let value = try parse(text) { return value }
        } catch let error as Expectation {
            throw error
        } catch {
            throw Expectation(expected: form, reason: "\(error)")
        }
        throw Expectation(expected: form)
    }
}

extension ValueGrammar where Value: ConfigurationValue {
    /// Every value of the type.
    static var plain: Self { Self(form: Value.form, parse: { try Value.read($0) }, write: \.configured) }

    /// The values of the type that lie in a range.
    static func within(_ range: ClosedRange<Value>) -> Self where Value: Comparable {
        Self(
            form: "\(Value.form) from \(range.lowerBound.configured) to \(range.upperBound.configured)",
            parse: { text in try Value.read(text).flatMap { range.contains($0) ? $0 : nil } }, write: \.configured)
    }
}

extension ValueGrammar {
    /// The grammar's values, and one word for having none.
    static func optional<Wrapped>(_ grammar: ValueGrammar<Wrapped>, none: String = "off") -> Self
    where Value == Wrapped? {
        Self(
            form: "\(none), or \(grammar.form)",
            parse: { $0 == none ? .some(nil) : try grammar.parse($0).map { Optional($0) } },
            write: { $0.map(grammar.write) ?? none })
    }
}

extension Bool: ConfigurationValue {
    static var form: String { "true or false" }
    static func read(_ text: String) -> Bool? { Bool(text) }
}

extension Int: ConfigurationValue {
    static var form: String { "a whole number" }
    /// Reads decimal digits: `010` is ten.
    static func read(_ text: String) -> Int? { text.utf8.allSatisfy { (48...57).contains($0) } ? Int(text) : nil }
}

/// A share of a whole.
extension Double: ConfigurationValue {
    static var form: String { "a share such as 0.5," }
    static func read(_ text: String) -> Double? {
        text.utf8.allSatisfy { (48...57).contains($0) || $0 == 46 } ? Double(text) : nil
    }
}

extension ConfigurationValue where Self: RawRepresentable<String> & CaseIterable {
    static var form: String { "one of " + allCases.map(\.rawValue).joined(separator: ", ") }
    static func read(_ text: String) -> Self? { Self(rawValue: text) }
    var configured: String { rawValue }
}

extension SessionSchema: ConfigurationValue {}
extension HistoryMode: ConfigurationValue {}
extension CatchUp: ConfigurationValue {}
extension LogLevel: ConfigurationValue {}
extension LogFormat: ConfigurationValue {}

extension RowCondition: ConfigurationValue {
    static var form: String { "a condition on the row, such as expires_at < $1" }
    static func read(_ text: String) throws -> RowCondition? { try RowCondition(parsing: text) }
    var configured: String { sql }
}

extension TableName: ConfigurationValue {
    static var form: String { "a name with its schema, such as public.mcp_sessions" }
    static func read(_ text: String) throws -> TableName? {
        // A name with quotes may be anything, and every failure of a run tells it.
        guard !MisplacedURL.isIn(text) else { return nil }
        do {
            return try TableName(parsing: text)
        } catch {
            throw Expectation(expected: String("\(error)".trimmingPrefix("expected ")))
        }
    }
}

extension Schedule: ConfigurationValue {
    static var form: String { "a schedule such as */5 * * * *" }
    static func read(_ text: String) throws -> Schedule? { try Schedule(text) }
}

extension NamedTimeZone: ConfigurationValue {
    static var form: String { "the name of a time zone, such as Europe/Berlin" }
    static func read(_ text: String) throws -> NamedTimeZone? { try NamedTimeZone(systemName: text) }
    var configured: String { name }
}

extension HeartbeatURL: ConfigurationValue {
    static var form: String { "a URL such as https://hc-ping.com/UUID, without user and password" }
    static func read(_ text: String) -> HeartbeatURL? { HeartbeatURL(parsing: text) }
    var configured: String { text }
}

extension Duration: ConfigurationValue {
    static var form: String { "a whole number and a unit (ms, s, m, h, d), such as 15s," }

    private static let units: [(name: String, milliseconds: Int64)] = [
        ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1),
    ]

    /// Reads a whole number and a unit: `50ms`, `15s`, `4m`, `1h`, `30d`.
    static func read(_ text: String) -> Duration? {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard let number = Int64(digits), let unit = units.first(where: { $0.name == text.dropFirst(digits.count) })
        else { return nil }
        let (milliseconds, overflows) = number.multipliedReportingOverflow(by: unit.milliseconds)
        // 10,000 years: everything that is computed with it stays exact.
        guard !overflows, milliseconds <= 10_000 * 366 * 86_400_000 else { return nil }
        return .milliseconds(milliseconds)
    }

    /// The shortest text that reads as this duration, which is whole milliseconds.
    var configured: String {
        let milliseconds = components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000
        // Every number of milliseconds is a multiple of the last unit.
        let unit = Self.units.first { milliseconds != 0 && milliseconds.isMultiple(of: $0.milliseconds) } ?? ("s", 1000)
        return "\(milliseconds / unit.milliseconds)\(unit.name)"
    }
}
