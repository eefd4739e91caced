import SessionCleanup

extension Job {
    /// The keys that make a job the operator's own.
    static let ownKeys = ["table", "where"]

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
