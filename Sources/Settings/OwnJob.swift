import SessionCleanup

extension Job {
    /// What makes a job the operator's own.
    static let ownKeys = ["table", "where"]

    /// Fit for a label, a variable and a key: no dots, and no longer than a name in the database.
    static func isValidName(_ name: String) -> Bool {
        let bytes = name.utf8
        let isPlain = bytes.allSatisfy {
            switch $0 {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                true
            default: false
            }
        }
        return isPlain && (1...63).contains(bytes.count) && name.first?.isLetter == true
    }
}
