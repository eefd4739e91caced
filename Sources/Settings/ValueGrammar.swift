import CleanupSchedule
import Postgres
import SessionCleanup
import Time

/// A type whose values can be read from the configuration, and written so that they read as themselves.
protocol ConfigurationValue: Sendable {
    /// The texts that are values, in words that follow "expected".
    static var form: String { get }
    /// Reads a value; throws `form`, and the reason where there is more to say.
    static func read(_ text: String) throws(Expectation) -> Self
    /// The value, as a text that `read` takes.
    var configured: String { get }
}

/// The way a key's value is written: one grammar for the file, the environment and what is shown.
struct ValueGrammar<Value>: Sendable {
    let read: @Sendable (String) throws(Expectation) -> Value
    /// A text that reads as the value.
    let write: @Sendable (Value) -> String
}

/// The kind of text that was expected, in words that follow "expected".
struct Expectation: Error, CustomStringConvertible {
    var expected: String
    /// Why the text is not such a text. It may quote a part of it.
    var reason: String?

    init(_ expected: String, because reason: String? = nil) {
        self.expected = expected
        self.reason = reason
    }

    var description: String { expected + (reason.map { ": \($0)" } ?? "") }
}

extension ValueGrammar where Value: ConfigurationValue {
    /// Every value of the type.
    static var plain: Self {
        Self(read: { text throws(Expectation) in try Value.read(text) }, write: \.configured)
    }

    /// The values of the type that lie in a range.
    static func within(_ range: ClosedRange<Value>) -> Self where Value: Comparable {
        Self(
            read: { text throws(Expectation) in
                let expected = Expectation(
                    "\(Value.form) from \(range.lowerBound.configured) to \(range.upperBound.configured)")
                let value: Value
                do {
                    value = try Value.read(text)
                } catch {
                    throw expected
                }
                guard range.contains(value) else { throw expected }
                return value
            },
            write: \.configured)
    }
}

extension ValueGrammar {
    /// The grammar's values, and one word for having none.
    static func optional<Wrapped>(_ grammar: ValueGrammar<Wrapped>, none: String = "off") -> Self
    where Value == Wrapped? {
        Self(
            read: { text throws(Expectation) in
                if text == none { return nil }
                do throws(Expectation) {
                    return try grammar.read(text)
                } catch {
                    throw Expectation("\(none), or \(error.expected)", because: error.reason)
                }
            },
            write: { $0.map(grammar.write) ?? none })
    }

    /// The grammar's values, where there always is one.
    static func required<Wrapped>(_ grammar: ValueGrammar<Wrapped>) -> Self where Value == Wrapped? {
        Self(
            read: { text throws(Expectation) in try grammar.read(text) },
            write: { $0.map(grammar.write) ?? "" })
    }
}

extension Bool: ConfigurationValue {
    static var form: String { "true or false" }

    static func read(_ text: String) throws(Expectation) -> Bool {
        switch text {
        case "true": return true
        case "false": return false
        default: throw Expectation(form)
        }
    }

    var configured: String { "\(self)" }
}

extension Int: ConfigurationValue {
    static var form: String { "a whole number" }

    /// Reads decimal digits: `010` is ten.
    static func read(_ text: String) throws(Expectation) -> Int {
        guard text.utf8.allSatisfy({ (48...57).contains($0) }), let value = Int(text) else { throw Expectation(form) }
        return value
    }

    var configured: String { "\(self)" }
}

/// A share of a whole.
extension Double: ConfigurationValue {
    static var form: String { "a share such as 0.5," }

    static func read(_ text: String) throws(Expectation) -> Double {
        guard text.utf8.allSatisfy({ (48...57).contains($0) || $0 == 46 }), let value = Double(text) else {
            throw Expectation(form)
        }
        return value
    }

    var configured: String { "\(self)" }
}

extension ConfigurationValue where Self: RawRepresentable<String> & CaseIterable {
    static var form: String { "one of " + allCases.map(\.rawValue).joined(separator: ", ") }

    static func read(_ text: String) throws(Expectation) -> Self {
        guard let choice = Self(rawValue: text) else { throw Expectation(form) }
        return choice
    }

    var configured: String { rawValue }
}

extension SessionSchema: ConfigurationValue {}
extension HistoryMode: ConfigurationValue {}
extension CatchUp: ConfigurationValue {}
extension LogLevel: ConfigurationValue {}
extension LogFormat: ConfigurationValue {}

extension RowCondition: ConfigurationValue {
    static var form: String { "a condition on the row, such as expires_at < $1" }

    static func read(_ text: String) throws(Expectation) -> RowCondition {
        do {
            return try RowCondition(parsing: text)
        } catch {
            throw Expectation(form, because: "\(error)")
        }
    }

    var configured: String { sql }
}

extension TableName: ConfigurationValue {
    static var form: String { "a name with its schema, such as public.mcp_sessions" }

    static func read(_ text: String) throws(Expectation) -> TableName {
        // A name with quotes may be anything, and every failure of a run tells it.
        guard !MisplacedURL.isIn(text) else { throw Expectation(form) }
        do {
            return try TableName(parsing: text)
        } catch .schemaMissing {
            throw Expectation(form)
        } catch {
            throw Expectation(String("\(error)".trimmingPrefix("expected ")))
        }
    }

    var configured: String { description }
}

extension Schedule: ConfigurationValue {
    static var form: String { "a schedule such as */5 * * * *" }

    static func read(_ text: String) throws(Expectation) -> Schedule {
        do {
            return try Schedule(text)
        } catch {
            throw Expectation(form, because: "\(error)")
        }
    }

    var configured: String { "\(self)" }
}

extension NamedTimeZone: ConfigurationValue {
    static var form: String { "the name of a time zone, such as Europe/Berlin" }

    static func read(_ text: String) throws(Expectation) -> NamedTimeZone {
        do {
            return try NamedTimeZone(systemName: text)
        } catch {
            throw Expectation(form, because: "\(error)")
        }
    }

    var configured: String { name }
}

extension Duration: ConfigurationValue {
    static var form: String { "a whole number and a unit (ms, s, m, h, d), such as 15s," }

    static func read(_ text: String) throws(Expectation) -> Duration {
        guard let value = Duration(configured: text) else { throw Expectation(form) }
        return value
    }
}

extension Duration {
    private static let units: [(name: String, milliseconds: Int64)] = [
        ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1),
    ]

    /// Reads a whole number and a unit: `50ms`, `15s`, `4m`, `1h`, `30d`.
    package init?(configured text: String) {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard let number = Int64(digits),
            let unit = Self.units.first(where: { $0.name == text.dropFirst(digits.count) })
        else { return nil }
        let (milliseconds, overflows) = number.multipliedReportingOverflow(by: unit.milliseconds)
        // 10,000 years: everything that is computed with it stays exact.
        guard !overflows, milliseconds <= 10_000 * 366 * 86_400_000 else { return nil }
        self = .milliseconds(milliseconds)
    }

    /// The shortest text that reads as this duration, which is whole milliseconds.
    package var configured: String {
        let milliseconds = components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000
        // Every number of milliseconds is a multiple of the last unit.
        let unit = Self.units.first { milliseconds != 0 && milliseconds.isMultiple(of: $0.milliseconds) } ?? ("s", 1000)
        return "\(milliseconds / unit.milliseconds)\(unit.name)"
    }
}
