/// One line of JSON whose keys keep their order: people read these lines too, and Foundation's encoder would sort them
/// and bring megabytes along.
struct JSONObject: CustomStringConvertible {
    enum Value {
        case string(String)
        case integer(Int)
        case boolean(Bool)
        indirect case object(JSONObject)
        case null

        init(_ text: String?) { self = text.map(Value.string) ?? .null }
    }

    private let members: [(key: String, value: Value)]

    init(_ members: [(String, Value)]) { self.members = members.map { (key: $0.0, value: $0.1) } }

    var description: String {
        "{" + members.map { Self.quoted($0.key) + ":" + Self.text($0.value) }.joined(separator: ",") + "}"
    }

    private static func text(_ value: Value) -> String {
        switch value {
        case .string(let text): quoted(text)
        case .integer(let number): String(number)
        case .boolean(let flag): flag ? "true" : "false"
        case .object(let object): object.description
        case .null: "null"
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
            case ..<" ":
                let hex = String(scalar.value, radix: 16)
                quoted += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }
}
