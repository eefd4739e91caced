import Foundation
import Time

@testable import CleanupSchedule

/// Zone files of the system, and handmade ones.
enum ZoneFile {
    struct Missing: Error { var name: String }

    static func bytes(_ name: String) throws -> [UInt8] {
        guard let data = FileManager.default.contents(atPath: "/usr/share/zoneinfo/\(name)") else {
            throw Missing(name: name)
        }
        return Array(data)
    }

    static func rules(_ name: String) throws -> TimeZoneRules { try TimeZoneRules(tzif: bytes(name)) }

    /// Zones with peculiarities: half hours, changes at midnight, skipped days, negative saving, odd rules.
    static let interesting = [
        "Europe/Berlin", "Europe/London", "Europe/Dublin", "Europe/Moscow", "America/New_York", "America/St_Johns",
        "America/Sao_Paulo", "America/Havana", "America/Nuuk", "America/Scoresbysund", "America/Caracas",
        "Australia/Lord_Howe", "Australia/Sydney", "Pacific/Apia", "Pacific/Kwajalein", "Pacific/Chatham",
        "Pacific/Norfolk", "Africa/Casablanca", "Africa/Cairo", "Asia/Kolkata", "Asia/Kathmandu", "Asia/Tehran",
        "Asia/Gaza", "Asia/Beirut", "Asia/Pyongyang", "Antarctica/Troll", "Antarctica/Casey", "Etc/UTC", "Etc/GMT+5",
    ]

    /// Returns the bytes of a version 2 file. Each transition names a type by its index.
    static func make(
        offsets: [Int32], transitions: [(start: Int64, type: UInt8)] = [], footer: String = "", version: Character = "2"
    ) -> [UInt8] {
        func bigEndian(_ value: some FixedWidthInteger) -> [UInt8] {
            withUnsafeBytes(of: value.bigEndian) { Array($0) }
        }
        func header(transitions: Int, types: Int) -> [UInt8] {
            var bytes = Array("TZif\(version)".utf8) + [UInt8](repeating: 0, count: 15)
            for count in [0, 0, 0, transitions, types, 4] { bytes += bigEndian(UInt32(count)) }
            return bytes
        }
        var bytes = header(transitions: 0, types: 1) + [UInt8](repeating: 0, count: 6) + Array("LMT\0".utf8)
        bytes += header(transitions: transitions.count, types: offsets.count)
        bytes += transitions.flatMap { bigEndian($0.start) } + transitions.map(\.type)
        bytes += offsets.flatMap { bigEndian($0) + [0, 0] } + Array("LMT\0".utf8)
        return bytes + Array("\n\(footer)\n".utf8)
    }

    static func rules(footer: String) throws -> TimeZoneRules {
        try TimeZoneRules(tzif: make(offsets: [0], footer: footer))
    }
}

extension TimeZoneRules {
    /// The offset of the zone's clocks from UTC; negative if they are behind.
    func offset(at instant: UTCInstant) -> Duration {
        let second = instant.wholeSecondsSinceEpoch
        let shift = shift(of: second)
        return .seconds(lastStretch { $0.start <= second - shift }.offset)
    }
}

func instant(_ text: String) -> UTCInstant { UTCInstant(rfc3339: text)! }
