/// Takes a TZif file apart (RFC 9636) and believes nothing that it says about its own size.
///
/// All loops are bounded by the number of bytes, of which there are at most `TimeZoneRules.maximumFileSize`.
struct TZifReader {
    /// What the file says, checked, in the file's order.
    struct Contents {
        /// Seconds since the epoch, strictly ascending, and the offset from UTC that holds from then on.
        var transitions: [(start: Int64, offset: Int64)] = []
        /// The offset from UTC, in seconds, before the first transition.
        var initialOffset: Int64 = 0
        /// What holds after the last transition; `nil` when the file does not say.
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
        try skip(first.blockSize(timeSize: 4), of: .transitions)
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
        let size = 44
        guard bytes.count - position >= 4, Array(bytes[position..<position + 4]) == Array("TZif".utf8) else {
            throw .notTZif
        }
        guard bytes.count - position >= size else {
            throw .truncated(part: .header, needed: size, available: bytes.count - position)
        }
        let version = bytes[position + 4]
        // Versions after 4 will be readable as 4 (RFC 9636, section 3): only their footer may know more.
        guard version == 0 || (UInt8(ascii: "2")...UInt8(ascii: "9")).contains(version) else {
            throw .versionUnknown(version)
        }
        position += 20
        return Header(
            version: version, utIndicators: nextCount(), standardIndicators: nextCount(), leapSeconds: nextCount(),
            transitions: nextCount(), types: nextCount(), designationBytes: nextCount())
    }

    /// The transitions and their offsets. Names of zones, and how transitions were once written, are skipped.
    private mutating func dataBlock(_ header: Header, timeSize: Int) throws(TimeZoneError) -> Contents {
        guard header.leapSeconds == 0 else { throw .countsLeapSeconds(header.leapSeconds) }
        guard header.types > 0 else { throw .noLocalTimeTypes }
        for count in [header.utIndicators, header.standardIndicators] where count != 0 && count != header.types {
            throw .indicatorsMiscounted(count, types: header.types)
        }
        let times = position
        try skip(header.blockSize(timeSize: timeSize), of: .transitions)
        let typeIndices = times + header.transitions * timeSize
        let types = typeIndices + header.transitions

        var offsets: [Int64] = []
        for index in 0..<header.types {
            let offset = signedInteger(at: types + index * 6, size: 4)
            guard Self.plausibleOffsets.contains(offset) else { throw .offsetOutOfRange(seconds: Int(offset)) }
            offsets.append(offset)
        }
        var contents = Contents(initialOffset: offsets[0])
        for index in 0..<header.transitions {
            let start = signedInteger(at: times + index * timeSize, size: timeSize)
            if let last = contents.transitions.last, start <= last.start { throw .transitionsOutOfOrder(index: index) }
            let type = Int(bytes[typeIndices + index])
            guard type < offsets.count else { throw .typeUnknown(index: index, type: type, types: offsets.count) }
            contents.transitions.append((start, offsets[type]))
        }
        return contents
    }

    /// The last line: a POSIX TZ string between two newlines, or nothing between them.
    private mutating func footer() throws(TimeZoneError) -> TimeZoneFooter? {
        let line = bytes[position...]
        let newline = UInt8(ascii: "\n")
        guard line.count >= 2, line.last == newline else {
            throw .truncated(part: .footer, needed: 2, available: line.count)
        }
        guard line.first == newline else { throw .footerMalformed(offset: 0, found: String(line[position])) }
        let text = Array(line.dropFirst().dropLast())
        guard !text.isEmpty else { return nil }
        var parser = TimeZoneFooterParser(text)
        return try parser.footer()
    }

    private mutating func skip(_ count: Int, of part: TimeZoneError.Part) throws(TimeZoneError) {
        guard bytes.count - position >= count else {
            throw .truncated(part: part, needed: count, available: bytes.count - position)
        }
        position += count
    }

    private mutating func nextCount() -> Int {
        defer { position += 4 }
        return Int(UInt32(truncatingIfNeeded: signedInteger(at: position, size: 4)))
    }

    /// Big-endian, two's complement.
    private func signedInteger(at offset: Int, size: Int) -> Int64 {
        let unsigned = bytes[offset..<offset + size].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        let unused = 64 - size * 8
        return Int64(bitPattern: unsigned << unused) >> unused
    }

    /// More than -25 and less than 26 hours from UTC, as RFC 9636 (section 3.2) advises.
    private static let plausibleOffsets: ClosedRange<Int64> = -89_999...93_599
}
