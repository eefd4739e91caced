import CleanupSchedule
import SessionCleanup

extension Job {
    /// The keys that make a job the operator's own.
    static let ownKeys = ["table", "where"]

    /// A job that a file names, before the rest of what the file says of it: removes nothing, as yet.
    static func own(named name: String) -> Job {
        do {
            return Job(
                name: name, shortName: nil, schedule: try Schedule("@daily"), deadline: .seconds(4 * 60),
                table: .sessions, rules: SessionRules(try RowCondition(parsing: "$1 IS NULL")))
        } catch {
            preconditionFailure("\(error)")
        }
    }

    /// Fit for a label, a variable and a key: no dots, and no longer than a name in the database.
    static func isValidName(_ name: String) -> Bool {
        let bytes = name.utf8
        return bytes.allSatisfy { $0.isAlphanumeric || "-_".utf8.contains($0) } && (1...63).contains(bytes.count)
            && name.first?.isLetter == true
    }
}

extension UInt8 {
    /// True for a letter or a digit of ASCII.
    var isAlphanumeric: Bool {
        switch self {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: false
        }
    }
}
