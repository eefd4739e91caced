/// Takes a TZif file apart (RFC 9636) and believes nothing that it says about its own size.
///
/// All loops are bounded by the number of bytes, of which there are at most `TimeZoneRules.maximumFileSize`.
struct TZifReader {
    /// The file's content, checked, in the file's order.
    struct Contents {
        /// Seconds since the epoch, strictly ascending, and the offset from UTC that holds from then on.
        var transitions: [(start: Int64, offset: Int64)] = []
        /// The offset from UTC, in seconds, before the first transition.
        var initialOffset: Int64 = 0
        /// The rule after the last transition; `nil` when the file does not say.
        var footer: TimeZoneFooter?
    }

    private let bytes: [UInt8]
    private var position = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// - Throws: `TimeZoneError` for the first thing, from the file's start, that is wrong.
    mutating func contents() throws(TimeZoneError) -> Contents {
        let first = try header()
        guard first.version != 0 else { return try dataBlock(first, timeSize: 4) }
        // A version 1 block with 32-bit times comes first, for readers of the last century.
        try skip(first.blockSize(timeSize: 4), of: "transitions")
        var contents = try dataBlock(try header(), timeSize: 8)
        contents.footer = try footer()
        return contents
    }

    private struct Header {
        var version: UInt8
        var utIndicators, standardIndicators, leapSeconds, transitions, types, designationBytes: Int

        /// Cannot overflow: each count is below 2^32.
        func blockSize(timeSize: Int) -> Int {
            transitions * (timeSize + 1) + types * 6 + designationBytes + leapSeconds * (timeSize + 4)
                + standardIndicators + utIndicators
        }
    }

    private mutating func header() throws(TimeZoneError) -> Header {
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
        let counts = (0..<6).map { Int(UInt32(truncatingIfNeeded: signedInteger(at: start + 20 + $0 * 4, size: 4))) }
        return Header(
            version: version, utIndicators: counts[0], standardIndicators: counts[1], leapSeconds: counts[2],
            transitions: counts[3], types: counts[4], designationBytes: counts[5])
    }

    /// The transitions and their offsets. Names of zones, and how transitions were once written, are skipped.
    private mutating func dataBlock(_ header: Header, timeSize: Int) throws(TimeZoneError) -> Contents {
        guard header.leapSeconds == 0 else {
            throw TimeZoneError(
                "time zone file with \(header.leapSeconds) leap seconds, which schedules do not count; take the zone without 'right/'"
            )
        }
        guard header.types > 0 else { throw .malformed("no local time type") }
        for count in [header.utIndicators, header.standardIndicators] where count != 0 && count != header.types {
            throw .malformed("\(count) indicators for \(header.types) local time types")
        }
        let times = position
        try skip(header.blockSize(timeSize: timeSize), of: "transitions")
        let typeIndices = times + header.transitions * timeSize
        let types = typeIndices + header.transitions

        var offsets: [Int64] = []
        for index in 0..<header.types {
            let offset = signedInteger(at: types + index * 6, size: 4)
            // More than -25 and less than 26 hours, as RFC 9636 (section 3.2) advises.
            guard (-89_999...93_599).contains(offset) else { throw .malformed("\(offset) seconds from UTC") }
            offsets.append(offset)
        }
        var contents = Contents(initialOffset: offsets[0])
        for index in 0..<header.transitions {
            let start = signedInteger(at: times + index * timeSize, size: timeSize)
            if let last = contents.transitions.last, start <= last.start {
                throw .malformed("transition \(index) is out of order")
            }
            let type = Int(bytes[typeIndices + index])
            guard type < offsets.count else {
                throw .malformed("transition \(index) leads to local time type \(type) of \(offsets.count)")
            }
            contents.transitions.append((start, offsets[type]))
        }
        return contents
    }

    /// The last line: a POSIX TZ string between two newlines, or nothing between them.
    private func footer() throws(TimeZoneError) -> TimeZoneFooter? {
        let line = bytes[position...]
        let newline = UInt8(ascii: "\n")
        guard line.count >= 2, line.last == newline else { throw cutShort("footer", needed: 2) }
        guard line.first == newline else { throw .footer(offset: 0, found: "'\(line[position])'") }
        let text = Array(line.dropFirst().dropLast())
        guard !text.isEmpty else { return nil }
        var parser = TimeZoneFooterParser(text)
        return try parser.footer()
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
    private func signedInteger(at offset: Int, size: Int) -> Int64 {
        let unsigned = bytes[offset..<offset + size].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        let unused = 64 - size * 8
        return Int64(bitPattern: unsigned << unused) >> unused
    }
}
