import CleanupSchedule
import Heartbeats
import Postgres
import SessionCleanup
import Time

/// The kind of text that was expected, in words that follow "expected".
struct Expectation: Error, CustomStringConvertible {
    var expected: String
    /// The reason why the text does not match. It may quote a part of the text.
    var reason: String?

    var description: String { expected + (reason.map { ": \($0)" } ?? "") }
}

/// The way a key's value is written: one grammar for the file, the environment and what is shown.
struct ValueGrammar<Value: Sendable>: Sendable {
    /// The texts that are values, in words that follow "expected".
    let form: String
    /// Reads a value; `nil` for a text of another form. Throws the reason where there is more to say.
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

    /// The grammar's values that lie in a range.
    func within(_ range: ClosedRange<Value>) -> Self where Value: Comparable {
        Self(
            form: "\(form) from \(write(range.lowerBound)) to \(write(range.upperBound))",
            parse: { text in try parse(text).flatMap { range.contains($0) ? $0 : nil } }, write: write)
    }

    /// Another grammar's values, and one word for `nil`.
    static func optional<Wrapped>(_ grammar: ValueGrammar<Wrapped>, none: String = "off") -> Self
    where Value == Wrapped? {
        Self(
            form: "\(none), or \(grammar.form)",
            parse: { $0 == none ? .some(nil) : try grammar.parse($0).map { Optional($0) } },
            write: { $0.map(grammar.write) ?? none })
    }
}

extension ValueGrammar where Value: CustomStringConvertible {
    init(_ form: String, parse: @escaping @Sendable (String) throws -> Value?) {
        self.init(form: form, parse: parse, write: \.description)
    }
}

extension ValueGrammar where Value: RawRepresentable<String> & CaseIterable {
    static var word: Self {
        let words = Value.allCases.map(\.rawValue).joined(separator: ", ")
        return Self(form: "one of \(words)", parse: { Value(rawValue: $0) }, write: \.rawValue)
    }
}

extension ValueGrammar {
    static var truth: ValueGrammar<Bool> { .init("true or false") { Bool($0) } }
    static var number: ValueGrammar<Int> { .init("a whole number") { Int(digits: $0) } }
    static var schedule: ValueGrammar<Schedule> { .init("a schedule such as */5 * * * *") { try Schedule($0) } }

    static var share: ValueGrammar<Double> {
        .init("a share such as 0.5,") { text in
            text.utf8.allSatisfy { (48...57).contains($0) || $0 == 46 } ? Double(text) : nil
        }
    }

    static var condition: ValueGrammar<RowCondition> {
        .init(
            form: "a condition on the row, such as expires_at < $1", parse: { try RowCondition(parsing: $0) },
            write: \.sql)
    }

    static var table: ValueGrammar<TableName> {
        .init("a name with its schema, such as public.mcp_sessions") { text in
            // A quoted name may hold any text, even a URL, and every failure of a run shows the table's name.
            guard !MisplacedURL.isIn(text) else { return nil }
            do {
                return try TableName(parsing: text)
            } catch {
                throw Expectation(expected: String("\(error)".trimmingPrefix("expected ")))
            }
        }
    }

    static var zone: ValueGrammar<NamedTimeZone> {
        .init(
            form: "the name of a time zone, such as Europe/Berlin", parse: { try NamedTimeZone(systemName: $0) },
            write: \.name)
    }

    static var address: ValueGrammar<ListenAddress> {
        let path = "unix: and an absolute path of at most \(ListenAddress.longestPath) bytes"
        return .init("an IP address and a port, such as 127.0.0.1:9764 or [::1]:9764, or \(path)") {
            ListenAddress(parsing: $0)
        }
    }

    static var heartbeat: ValueGrammar<HeartbeatURL> {
        .init(
            form: "a URL such as https://hc-ping.com/UUID, without user and password",
            parse: { HeartbeatURL(parsing: $0) }, write: \.text)
    }

    /// A whole number and a unit: `50ms`, `15s`, `4m`, `1h`, `30d`. Written with the largest unit that fits.
    static var duration: ValueGrammar<Duration> {
        let units: [(name: String, milliseconds: Int64)] = [
            ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1),
        ]
        return .init(form: "a whole number and a unit (ms, s, m, h, d), such as 15s,") { text in
            let digits = text.prefix { $0.isASCII && $0.isNumber }
            guard let number = Int64(digits), let unit = units.first(where: { $0.name == text.dropFirst(digits.count) })
            else { return nil }
            let (milliseconds, overflows) = number.multipliedReportingOverflow(by: unit.milliseconds)
            // At most 10,000 years, so that everything that is computed with it stays exact.
            return overflows || milliseconds > 10_000 * 366 * 86_400_000 ? nil : .milliseconds(milliseconds)
        } write: { duration in
            let milliseconds = duration.wholeMilliseconds
            // Every number of milliseconds is a multiple of the last unit.
            let unit = units.first { milliseconds != 0 && milliseconds.isMultiple(of: $0.milliseconds) } ?? ("s", 1000)
            return "\(milliseconds / unit.milliseconds)\(unit.name)"
        }
    }
}

extension Int {
    /// Reads decimal digits: `010` is ten.
    init?(digits: some StringProtocol) {
        guard digits.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
        self.init(digits)
    }
}
