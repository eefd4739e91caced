/// A TZif file taken apart and checked (RFC 9636), which believes nothing that the file says about its own size.
///
/// All loops are bounded by the number of bytes, of which there are at most `TimeZoneRules.maximumFileSize`.
struct TZifFile {
    /// In the file's order: seconds since the epoch, strictly ascending, and the offset from UTC that holds from then on.
    private(set) var transitions: [(start: Int64, offset: Int64)] = []
    /// The offset from UTC, in seconds, before the first transition.
    private(set) var initialOffset: Int64 = 0
    /// The rule after the last transition; `nil` when the file has none.
    private(set) var footer: TimeZoneFooter?

    private let bytes: [UInt8]
    private var position = 0

    /// - Throws: `TimeZoneError` for the first fault, from the file's start.
    init(_ bytes: [UInt8]) throws(TimeZoneError) {
        self.bytes = bytes
        let first = try header()
        if first.version == 0 {
            try readBlock(first.counts, timeSize: 4)
        } else {
            // A version 1 block with 32-bit times comes first, for readers that know no other.
            try skip(Self.blockSize(first.counts, timeSize: 4), of: "transitions")
            try readBlock(try header().counts, timeSize: 8)
            footer = try readFooter()
        }
    }

    /// Returns the version, and the numbers of UT and standard indicators, leap seconds, transitions, types and bytes
    /// of designations.
    private mutating func header() throws(TimeZoneError) -> (version: UInt8, counts: [Int]) {
        let start = position
        guard bytes[start...].starts(with: "TZif".utf8) else {
            throw TimeZoneError("not a time zone file (it does not begin with 'TZif')")
        }
        try skip(44, of: "header")
        let version = bytes[start + 4]
        // Versions after 4 will be readable as 4 (RFC 9636, section 3): only their footer may know more.
        guard version == 0 || (UInt8(ascii: "2")...UInt8(ascii: "9")).contains(version) else {
            throw TimeZoneError("time zone file of unknown version (byte \(version))")
        }
        return (version, (0..<6).map { Int(UInt32(truncatingIfNeeded: integer(at: start + 20 + $0 * 4, size: 4))) })
    }

    /// Returns the length of a data block in bytes. Cannot overflow: each count is below 2^32.
    private static func blockSize(_ counts: [Int], timeSize: Int) -> Int {
        zip(counts, [1, 1, timeSize + 4, timeSize + 1, 6, 1]).reduce(0) { $0 + $1.0 * $1.1 }
    }

    /// Reads the transitions and their offsets. Skips the designations and the UT and standard indicators.
    private mutating func readBlock(_ counts: [Int], timeSize: Int) throws(TimeZoneError) {
        let (leapSeconds, transitionCount, typeCount) = (counts[2], counts[3], counts[4])
        guard leapSeconds == 0 else {
            throw TimeZoneError(
                "time zone file with \(leapSeconds) leap seconds, which schedules do not count; take the zone without 'right/'"
            )
        }
        guard typeCount > 0 else { throw .malformed("no local time type") }
        for count in counts[..<2] where count != 0 && count != typeCount {
            throw .malformed("\(count) indicators for \(typeCount) local time types")
        }
        let times = position
        try skip(Self.blockSize(counts, timeSize: timeSize), of: "transitions")
        let typeIndices = times + transitionCount * timeSize
        let offsets = (0..<typeCount).map { integer(at: typeIndices + transitionCount + $0 * 6, size: 4) }
        // More than -25 and less than 26 hours, as RFC 9636 (section 3.2) advises.
        if let offset = offsets.first(where: { !(-89_999...93_599).contains($0) }) {
            throw .malformed("\(offset) seconds from UTC")
        }
        initialOffset = offsets[0]
        for index in 0..<transitionCount {
            let start = integer(at: times + index * timeSize, size: timeSize)
            if let last = transitions.last, start <= last.start {
                throw .malformed("transition \(index) is out of order")
            }
            let type = Int(bytes[typeIndices + index])
            guard type < typeCount else {
                throw .malformed("transition \(index) leads to local time type \(type) of \(typeCount)")
            }
            transitions.append((start, offsets[type]))
        }
    }

    /// Reads the last line: a POSIX TZ string between two newlines; `nil` when nothing is between them.
    private func readFooter() throws(TimeZoneError) -> TimeZoneFooter? {
        let line = bytes[position...]
        let newline = UInt8(ascii: "\n")
        guard line.count >= 2, line.last == newline else { throw cutShort("footer", needed: 2) }
        guard line.first == newline else { throw .footer(offset: 0, found: "'\(line[position])'") }
        return line.count == 2 ? nil : try TimeZoneFooter(Array(line.dropFirst().dropLast()))
    }

    private mutating func skip(_ count: Int, of part: String) throws(TimeZoneError) {
        guard bytes.count - position >= count else { throw cutShort(part, needed: count) }
        position += count
    }

    private func cutShort(_ part: String, needed: Int) -> TimeZoneError {
        let available = bytes.count - position
        return TimeZoneError("time zone file cut short: its \(part) needs \(needed) bytes, \(available) are left")
    }

    /// Big-endian, two's complement.
    private func integer(at offset: Int, size: Int) -> Int64 {
        let unsigned = bytes[offset..<offset + size].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        let unused = 64 - size * 8
        return Int64(bitPattern: unsigned << unused) >> unused
    }
}
