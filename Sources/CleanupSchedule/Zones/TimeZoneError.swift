/// Why bytes are not the rules of a time zone.
package enum TimeZoneError: Error, Hashable, Sendable, CustomStringConvertible {
    /// More bytes than any zone's file has.
    case tooLarge(bytes: Int, limit: Int)
    /// The first four bytes are not `TZif`.
    case notTZif
    /// A version byte that is none.
    case versionUnknown(UInt8)
    /// The bytes end inside a part that should have `needed` of them.
    case truncated(part: Part, needed: Int, available: Int)
    /// The file counts leap seconds (a `right/` zone), which Unix time does not.
    case countsLeapSeconds(Int)
    /// Neither none nor one for each local time type.
    case indicatorsMiscounted(Int, types: Int)
    case noLocalTimeTypes
    /// The offset from UTC is not within 26 hours.
    case offsetOutOfRange(seconds: Int)
    /// The transition with this number, from 0, is not later than the one before.
    case transitionsOutOfOrder(index: Int)
    /// The transition with this number, from 0, leads to a type that is not there.
    case typeUnknown(index: Int, type: Int, types: Int)
    /// The rule for the time after the last transition is not a POSIX TZ string; `offset` is in bytes from 0.
    case footerMalformed(offset: Int, found: String)

    package enum Part: String, Hashable, Sendable {
        case header, transitions, footer
    }

    /// For the operator; the name of the zone is for the caller to add.
    package var description: String {
        switch self {
        case .tooLarge(let bytes, let limit): "time zone file of \(bytes) bytes, expected at most \(limit)"
        case .notTZif: "not a time zone file (it does not begin with 'TZif')"
        case .versionUnknown(let version): "time zone file of unknown version (byte \(version))"
        case .truncated(let part, let needed, let available):
            "time zone file cut short: its \(part.rawValue) needs \(needed) bytes, \(available) are left"
        case .countsLeapSeconds(let count):
            "time zone file with \(count) leap seconds, which schedules do not count; take the zone without 'right/'"
        case .indicatorsMiscounted(let count, let types):
            "malformed time zone file: \(count) indicators for \(types) local time types"
        case .noLocalTimeTypes: "malformed time zone file: no local time type"
        case .offsetOutOfRange(let seconds): "malformed time zone file: \(seconds) seconds from UTC"
        case .transitionsOutOfOrder(let index): "malformed time zone file: transition \(index) is out of order"
        case .typeUnknown(let index, let type, let types):
            "malformed time zone file: transition \(index) leads to local time type \(type) of \(types)"
        case .footerMalformed(let offset, let found):
            "malformed time zone file: rule for later years, byte \(offset): unexpected "
                + (found.isEmpty ? "end" : "'\(found)'")
        }
    }
}
