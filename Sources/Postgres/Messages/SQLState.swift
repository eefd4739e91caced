/// A five-character SQLSTATE: PostgreSQL manual, appendix A.
package struct SQLState: RawRepresentable, Hashable, Sendable, CustomStringConvertible, ExpressibleByStringLiteral {
    package let rawValue: String

    package init(rawValue: String) { self.rawValue = rawValue }
    package init(stringLiteral value: String) { rawValue = value }

    /// The first two characters, which name the kind of condition: `08` is a connection exception.
    package var conditionClass: String { String(rawValue.prefix(2)) }

    /// The condition's name in appendix A, such as `not_null_violation`; `nil` for a code that is not in it.
    package var conditionName: String? { Condition.named(self)?.name }

    /// True for a server that is starting, stopping or recovering (57P03, 57P01) or has no connection left (53300):
    /// another host may accept the connection.
    var isTemporaryRefusal: Bool { self == "57P03" || self == "53300" || self == "57P01" }

    package var description: String { rawValue }
}
