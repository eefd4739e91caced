import CleanupSchedule
import SessionCleanup
import Time

/// How a value is written: one grammar for the file, the environment and what is shown.
struct ValueGrammar<Value>: Sendable {
    let read: @Sendable (String) throws(Expectation) -> Value
    /// A text that reads as the value.
    let write: @Sendable (Value) -> String
}

/// What a text was expected to be, in words that follow "expected".
struct Expectation: Error {
    let expected: String
    init(_ expected: String) { self.expected = expected }
}

extension ValueGrammar<Bool> {
    static var boolean: Self {
        Self(
            read: { text throws(Expectation) in
                switch text {
                case "true": return true
                case "false": return false
                default: throw Expectation("true or false")
                }
            },
            write: { "\($0)" })
    }
}

extension ValueGrammar<Int> {
    /// Decimal digits: `010` is ten.
    static func count(_ range: ClosedRange<Int>) -> Self {
        Self(
            read: { text throws(Expectation) in
                guard text.utf8.allSatisfy({ (48...57).contains($0) }), let value = Int(text), range.contains(value)
                else { throw Expectation("a whole number from \(range.lowerBound) to \(range.upperBound)") }
                return value
            },
            write: { "\($0)" })
    }
}

extension ValueGrammar<Double> {
    /// A share of a whole. Below one in ten thousand a single row of a small table would be too many.
    static var share: Self {
        Self(
            read: { text throws(Expectation) in
                guard text.utf8.allSatisfy({ (48...57).contains($0) || $0 == 46 }), let value = Double(text),
                    (0.0001...1).contains(value)
                else { throw Expectation("a share from 0.0001 to 1, such as 0.5") }
                return value
            },
            write: { "\($0)" })
    }
}

extension ValueGrammar<Duration> {
    static func duration(_ range: ClosedRange<Duration>) -> Self {
        Self(
            read: { text throws(Expectation) in
                guard let value = Duration(configured: text), range.contains(value) else {
                    throw Expectation(
                        "a whole number and a unit (ms, s, m, h, d), such as 15s, from \(range.lowerBound.configured) "
                            + "to \(range.upperBound.configured)")
                }
                return value
            },
            write: \.configured)
    }
}

extension ValueGrammar
where Value: RawRepresentable<String> & CaseIterable & SendableMetatype, Value.AllCases: SendableMetatype {
    static var choice: Self {
        Self(
            read: { text throws(Expectation) in
                guard let choice = Value(rawValue: text) else {
                    throw Expectation("one of " + Value.allCases.map(\.rawValue).joined(separator: ", "))
                }
                return choice
            },
            write: \.rawValue)
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
                    throw Expectation("\(none), or \(error.expected)")
                }
            },
            write: { $0.map(grammar.write) ?? none })
    }
}

extension ValueGrammar {
    /// The grammar's values, where there always is one.
    static func required<Wrapped>(_ grammar: ValueGrammar<Wrapped>) -> Self where Value == Wrapped? {
        Self(
            read: { text throws(Expectation) in try grammar.read(text) },
            write: { $0.map(grammar.write) ?? "" })
    }
}

extension ValueGrammar<RowCondition> {
    static var condition: Self {
        Self(
            read: { text throws(Expectation) in
                do {
                    return try RowCondition(parsing: text)
                } catch {
                    throw Expectation("a condition on the row, such as expires_at < $1: \(error)")
                }
            },
            write: \.sql)
    }
}

extension ValueGrammar<TableName> {
    static var table: Self {
        Self(
            read: { text throws(Expectation) in
                do {
                    return try TableName(parsing: text)
                } catch {
                    throw Expectation(String("\(error)".trimmingPrefix("expected ")))
                }
            },
            write: { "\($0)" })
    }
}

extension ValueGrammar<Schedule> {
    static var schedule: Self {
        Self(
            read: { text throws(Expectation) in
                do {
                    return try Schedule(text)
                } catch {
                    throw Expectation("a schedule such as */5 * * * *: \(error)")
                }
            },
            write: { "\($0)" })
    }
}

extension ValueGrammar<NamedTimeZone> {
    static var timeZone: Self {
        Self(
            read: { text throws(Expectation) in
                do {
                    return try NamedTimeZone(systemName: text)
                } catch {
                    throw Expectation("the name of a time zone, such as Europe/Berlin: \(error)")
                }
            },
            write: \.name)
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
