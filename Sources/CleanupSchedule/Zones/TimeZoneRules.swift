import Time

/// A time zone: how far its clocks are ahead of UTC, at every instant, and when they reach a local time.
///
/// Local times are counted in seconds as if they were UTC: 1970-01-01 00:00 on the zone's clocks is 0. A malformed file
/// is refused, and none can cause a trap.
package struct TimeZoneRules: Hashable, Sendable {
    /// More than any zone's file has: the largest of tzdata 2025b is under 4 KiB, "fat" ones included.
    package static let maximumFileSize = 65_536

    /// Clocks that always show UTC.
    package static let utc = TimeZoneRules([], initialOffset: 0, footer: nil)

    /// A period between two clock changes.
    struct Stretch: Hashable, Sendable {
        /// Seconds since the epoch; the stretch ends where the next one starts.
        var start: Int64
        /// Seconds ahead of UTC.
        var offset: Int64
        /// The highest local time at which an earlier stretch ended: every local time before it was shown or skipped.
        var reached: Int64
    }

    /// Ascending, never empty; the first has no start (`Int64.min`). They are those of the file, then 400 years of the
    /// footer's, after which the calendar repeats, weekdays included.
    private var stretches: [Stretch]
    /// Seconds since the epoch, at least a year after the file's last transition. A later time is looked up at the
    /// corresponding time within the 400 years from here.
    private var repeatsFrom: Int64 = 0
    private static let repeatsAfter: Int64 = 146_097 * 86_400

    /// Reads a file of `/usr/share/zoneinfo`: TZif of version 1, and of 2 and later with 64-bit times and a footer (RFC 9636).
    ///
    /// - Throws: `TimeZoneError`; no bytes make it trap.
    package init(tzif bytes: [UInt8]) throws(TimeZoneError) {
        let limit = Self.maximumFileSize
        guard bytes.count <= limit else {
            throw TimeZoneError("time zone file of \(bytes.count) bytes, expected at most \(limit)")
        }
        let file = try TZifFile(bytes)
        self.init(file.transitions, initialOffset: file.initialOffset, footer: file.footer)
    }

    private init(_ transitions: [(start: Int64, offset: Int64)], initialOffset: Int64, footer: TimeZoneFooter?) {
        stretches = [Stretch(start: .min, offset: initialOffset, reached: .min)]
        for transition in transitions { append(transition) }
        let (last, start) = (stretches.endIndex - 1, stretches[stretches.endIndex - 1].start)
        let nameable = max(
            UTCInstant.earliestNameable.wholeSecondsSinceEpoch,
            min(start, UTCInstant.latestNameable.wholeSecondsSinceEpoch))
        let year = CivilDate(daysSinceEpoch: Int(nameable.dividedRoundingDown(by: 86_400))).year
        repeatsFrom = Int64(CivilDate.daysSinceEpoch(year: year + 2, month: 1, day: 1)) * 86_400
        guard let footer else { return }
        // A change can fall up to a week before or after its year.
        let changes = footer.transitions(inYears: year - 2...year + 403)
        // The footer already holds at the last transition's instant, or for all times when there is no transition.
        stretches[last].offset = changes.last { $0.start <= start }?.offset ?? footer.standardOffset
        for change in changes where change.start > start { append(change) }
    }

    /// The first local time that the clocks have neither shown nor skipped up to and including this second. Both in
    /// whole seconds since the epoch.
    func firstLocalTimeNotReached(at second: Int64) -> Int64 {
        let shift = shift(of: second)
        let stretch = lastStretch { $0.start <= second - shift }
        return max(second + stretch.offset + 1, stretch.reached + shift)
    }

    /// The first instant at which the clocks show the local time or a later one: when a change skips it, the instant
    /// of the change; when it happens twice, the first. Both in whole seconds since the epoch.
    func firstInstant(reaching localTime: Int64) -> Int64 {
        let shift = shift(of: localTime)
        let stretch = lastStretch { $0.reached <= localTime - shift }
        return max(stretch.start + shift, localTime - stretch.offset)
    }

    /// The seconds between a time and its place in `stretches`: whole repetitions of the calendar.
    func shift(of second: Int64) -> Int64 {
        second < repeatsFrom ? 0 : (second - repeatsFrom) / Self.repeatsAfter * Self.repeatsAfter
    }

    /// The last stretch that the predicate holds for. It must hold for the first one, and for all before the last.
    func lastStretch(where holds: (Stretch) -> Bool) -> Stretch {
        var (low, high) = (1, stretches.count)
        while low < high {
            let middle = (low + high) / 2
            if holds(stretches[middle]) { low = middle + 1 } else { high = middle }
        }
        return stretches[low - 1]
    }

    private mutating func append(_ transition: (start: Int64, offset: Int64)) {
        let last = stretches[stretches.endIndex - 1]
        guard transition.start > last.start else {
            // No time passes between two changes at one instant.
            stretches[stretches.endIndex - 1].offset = transition.offset
            return
        }
        // A hostile file may have a transition near `Int64.max`.
        let ended = Int64(clamping: Int128(transition.start) + Int128(last.offset))
        stretches.append(Stretch(start: transition.start, offset: transition.offset, reached: max(last.reached, ended)))
    }
}

extension TimeZoneRules {
    /// True if this could be an IANA name, such as `Europe/Berlin` or `Etc/GMT+5`, and is safe to append to the path
    /// of the directory with the zone files: parts of ASCII letters, digits, `+`, `-` and `_` that begin with a
    /// letter, with single slashes between. There is no way up, and no absolute path.
    package static func isValidName(_ name: String) -> Bool {
        // The longest of tzdata 2025b has 32.
        guard name.utf8.count <= 64 else { return false }
        return name.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).allSatisfy { part in
            guard let first = part.first, isLetter(first) else { return false }
            return part.allSatisfy { isLetter($0) || (0x30...0x39).contains($0) || "+-_".utf8.contains($0) }
        }
    }

    static func isLetter(_ byte: UInt8) -> Bool {
        // The bit by which lower case differs from capitals.
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
    }
}

/// Why bytes are not the rules of a time zone, for the operator; the caller adds the zone's name.
package struct TimeZoneError: Error, Hashable, Sendable, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }

    static func malformed(_ problem: String) -> TimeZoneError {
        TimeZoneError("malformed time zone file: \(problem)")
    }

    /// - Parameter offset: in bytes of the POSIX TZ string, from 0.
    static func footer(offset: Int, found: String) -> TimeZoneError {
        malformed("rule for later years, byte \(offset): unexpected \(found)")
    }
}
