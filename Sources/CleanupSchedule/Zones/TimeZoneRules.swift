package import Time

/// A time zone: how far its clocks are ahead of UTC, at every instant, and when they reach a local time.
///
/// Local times are counted in seconds as if they were UTC: 1970-01-01 00:00 on the zone's clocks is 0. No
/// content of a file makes this trap.
package struct TimeZoneRules: Hashable, Sendable {
    /// More than any zone's file has: the largest of tzdata 2025b is under 4 KiB, "fat" ones included.
    package static let maximumFileSize = 65_536

    /// Clocks that always show UTC.
    package static let utc = TimeZoneRules(TZifReader.Contents())

    /// A time without clock changes.
    private struct Stretch: Hashable, Sendable {
        /// Seconds since the epoch; the stretch ends where the next one starts.
        var start: Int64
        /// Seconds ahead of UTC.
        var offset: Int64
        /// The clocks have shown or skipped every local time before this one when the stretch starts.
        ///
        /// It is the highest, over all earlier stretches, of the local time at which they ended, and so tells a
        /// repeated local time from a new one without a search.
        var reached: Int64
    }

    /// Ascending, never empty. The first has no start (`Int64.min`), the last no end unless the footer has changes.
    private let stretches: [Stretch]
    private let footer: TimeZoneFooter?

    /// Reads a file of `/usr/share/zoneinfo`.
    ///
    /// TZif of version 1, and of 2 and later with 64-bit times and a footer (RFC 9636).
    ///
    /// - Throws: `TimeZoneError`; no bytes make it trap.
    package init(tzif bytes: [UInt8]) throws(TimeZoneError) {
        guard bytes.count <= Self.maximumFileSize else {
            throw .tooLarge(bytes: bytes.count, limit: Self.maximumFileSize)
        }
        var reader = TZifReader(bytes)
        self.init(try reader.contents())
    }

    private init(_ contents: TZifReader.Contents) {
        var stretches = [Stretch(start: .min, offset: contents.initialOffset, reached: .min)]
        for transition in contents.transitions {
            Self.append(transition, to: &stretches)
        }
        // The footer speaks for the instant of the last transition already, or for all times when there is none.
        if let footer = contents.footer {
            let last = stretches.endIndex - 1
            stretches[last].offset = Self.offset(of: footer, at: stretches[last].start)
        }
        self.stretches = stretches
        footer = contents.footer
    }

    /// Seconds that the zone's clocks are ahead of UTC; negative is behind.
    ///
    /// Exact in the years 1 to 9999. Beyond them the footer's yearly changes are taken to be over.
    package func offset(at instant: UTCInstant) -> Duration {
        .seconds(stretch(at: instant.wholeSecondsSinceEpoch).offset)
    }

    // MARK: Local times

    /// The first local time that the clocks have neither shown nor skipped by the instant, that second included.
    ///
    /// Both in whole seconds since the epoch.
    func firstLocalTimeNotReached(at second: Int64) -> Int64 {
        let stretch = stretch(at: second)
        return max(second + stretch.offset + 1, stretch.reached)
    }

    /// The first instant at which the clocks show the local time or a later one: when a change skips it, the instant
    /// of the change; when it happens twice, the first. Both in whole seconds since the epoch.
    func firstInstant(reaching localTime: Int64) -> Int64 {
        var stretch = stretches[0]
        if let end = firstIndex(in: stretches, where: { $0.reached > localTime }) {
            stretch = stretches[end - 1]
        } else {
            let later = laterStretches(around: localTime)
            let end = firstIndex(in: later, where: { $0.reached > localTime }) ?? later.endIndex
            stretch = later[end - 1]
        }
        return max(stretch.start, localTime - stretch.offset)
    }

    // MARK: Stretches

    private func stretch(at second: Int64) -> Stretch {
        let candidates = second < stretches[stretches.endIndex - 1].start ? stretches : laterStretches(around: second)
        // The first has no start that a second could precede.
        let end = firstIndex(in: candidates, where: { $0.start > second }) ?? candidates.endIndex
        return candidates[end - 1]
    }

    /// The first that the predicate holds for, given that it holds for all after it; never the very first.
    private func firstIndex(in stretches: [Stretch], where isBeyond: (Stretch) -> Bool) -> Int? {
        var low = 1
        var high = stretches.count
        while low < high {
            let middle = (low + high) / 2
            if isBeyond(stretches[middle]) { high = middle } else { low = middle + 1 }
        }
        return low < stretches.count ? low : nil
    }

    /// The last stretch of the file, and after it those that the footer makes around a time: at most eight.
    ///
    /// A change can lie a week before or after its year. So all that happen in the time's year and two days around it,
    /// in which a local time can be met again, are those of three years; and the last one before them is at most one
    /// year older. For times in between, the result is what a list of all stretches would be.
    private func laterStretches(around second: Int64) -> [Stretch] {
        var later = [stretches[stretches.endIndex - 1]]
        guard let footer else { return later }
        let start = later[0].start
        for transition in footer.transitions(inYears: Self.years(around: second)) where transition.start > start {
            Self.append(transition, to: &later)
        }
        return later
    }

    private static func append(_ transition: (start: Int64, offset: Int64), to stretches: inout [Stretch]) {
        let last = stretches[stretches.endIndex - 1]
        guard transition.start > last.start else {
            // No time passes between two changes at one instant.
            stretches[stretches.endIndex - 1].offset = transition.offset
            return
        }
        // A hostile file may have a transition at the very end of time.
        let (localEnd, overflow) = transition.start.addingReportingOverflow(last.offset)
        let ended = overflow ? (transition.start < 0 ? Int64.min : Int64.max) : localEnd
        stretches.append(
            Stretch(start: transition.start, offset: transition.offset, reached: max(last.reached, ended)))
    }

    private static func offset(of footer: TimeZoneFooter, at second: Int64) -> Int64 {
        let transitions = footer.transitions(inYears: years(around: second))
        return transitions.last { $0.start <= second }?.offset ?? footer.standardOffset
    }

    private static func years(around second: Int64) -> ClosedRange<Int> {
        let nameable = max(
            UTCInstant.earliestNameable.wholeSecondsSinceEpoch,
            min(second, UTCInstant.latestNameable.wholeSecondsSinceEpoch))
        let year = CivilDate(daysSinceEpoch: Int(nameable.dividedRoundingDown(by: 86_400))).year
        return year - 2...year + 1
    }
}

extension TimeZoneRules {
    /// The longest name that is looked for, in characters; the longest of tzdata 2025b has 32.
    private static let longestName = 64

    /// Whether this could be an IANA name, such as `Europe/Berlin` or `Etc/GMT+5`, and is safe to append to the path
    /// of the directory with the zone files: parts of ASCII letters, digits, `+`, `-` and `_` that begin with a
    /// letter, with single slashes between. There is no way up, and no absolute path.
    package static func isValidName(_ name: String) -> Bool {
        guard name.utf8.count <= longestName else { return false }
        return name.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).allSatisfy { part in
            guard let first = part.first, isLetter(first) else { return false }
            return part.allSatisfy { isLetter($0) || (0x30...0x39).contains($0) || "+-_".utf8.contains($0) }
        }
    }

    private static func isLetter(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
    }
}
