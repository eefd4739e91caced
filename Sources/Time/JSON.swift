/// A JSON value on one line. An object's keys keep their order: people read these lines too, and Foundation's encoder
/// would sort them and bring megabytes along.
package indirect enum JSON: CustomStringConvertible, JSONValue, ExpressibleByDictionaryLiteral {
    case string(String)
    case integer(Int)
    /// Finite.
    case decimal(Double)
    case boolean(Bool)
    case null
    case array([JSON])
    case object([(String, JSON)])

    /// An object; `nil` becomes `null`.
    package init(dictionaryLiteral members: (String, (any JSONValue)?)...) {
        self = .object(members.map { ($0, $1?.json ?? .null) })
    }

    package var json: JSON { self }

    package var description: String {
        switch self {
        case .string(let text): Self.quoted(text)
        case .integer(let number): String(number)
        case .decimal(let number): "\(number)"
        case .boolean(let flag): flag ? "true" : "false"
        case .null: "null"
        case .array(let elements): "[" + elements.map(\.description).joined(separator: ",") + "]"
        case .object(let members):
            "{" + members.map { Self.quoted($0.0) + ":" + $0.1.description }.joined(separator: ",") + "}"
        }
    }

    /// RFC 8259, section 7.
    private static func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case "\n": quoted += "\\n"
            case "\r": quoted += "\\r"
            case "\t": quoted += "\\t"
            case _ where scalar.isInvisible:
                // A surrogate pair for a scalar above U+FFFF.
                for unit in scalar.utf16 {
                    let hex = String(unit, radix: 16)
                    quoted += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
                }
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }
}

/// A type whose values can be members of an object.
package protocol JSONValue {
    var json: JSON { get }
}

extension String: JSONValue { package var json: JSON { .string(self) } }
extension Int: JSONValue { package var json: JSON { .integer(self) } }
extension Bool: JSONValue { package var json: JSON { .boolean(self) } }
extension Array: JSONValue where Element: JSONValue { package var json: JSON { .array(map(\.json)) } }
extension UTCInstant: JSONValue { package var json: JSON { .string("\(self)") } }
/// In seconds.
extension Duration: JSONValue { package var json: JSON { .decimal(fractionalSeconds) } }
