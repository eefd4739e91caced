import SeededRandom
import Testing

@testable import CleanupSchedule
@testable import Time

/// Compares random schedules with a model that steps through the minutes.
@Suite struct ScheduleModelTests {
    /// Returns the first fire times from a minute (counted from the epoch) on, found by stepping.
    private func stepped(_ schedule: RandomSchedule, from minute: Int, count: Int) -> [Int] {
        var found: [Int] = []
        var (day, minuteOfDay) = (minute / 1440, minute % 1440)
        let lastDay = day + 366 * 41
        while day <= lastDay, found.count < count {
            if schedule.matches(PaperCalendar.day(day)) {
                while minuteOfDay < 1440, found.count < count {
                    if schedule.hours[minuteOfDay / 60], schedule.minutes[minuteOfDay % 60] {
                        found.append(day * 1440 + minuteOfDay)
                    }
                    minuteOfDay += 1
                }
            }
            (day, minuteOfDay) = (day + 1, 0)
        }
        return found
    }

    @Test func namesTheFireTimesThatSteppingThroughMinutesFinds() throws {
        let seed = SeededRandom.seed()
        var random = SeededRandom(seed: seed)
        var refused = 0
        // Includes the spring of 2100, a year without a 29 February.
        let minutesUntil2100 = 47_600 * 1440
        for _ in 0..<3_000 {
            let model = RandomSchedule(using: &random)
            guard let schedule = try? Schedule(model.text) else {
                // The only reason to refuse it is that it never fires: then no day of the whole calendar may match.
                refused += 1
                let error = #expect(throws: ScheduleError.self) { try Schedule(model.text) }
                guard error?.expected.hasSuffix("this schedule would never fire") ?? false,
                    !PaperCalendar.cycle.contains(where: model.matches)
                else {
                    Issue.record("'\(model.text)' was refused: \(String(describing: error)), seed \(seed)")
                    return
                }
                continue
            }
            let minute = Int.random(in: 0...minutesUntil2100, using: &random)
            let microsecond = random.chance(3) ? 0 : Int.random(in: 1..<60_000_000, using: &random)
            let start = UTCInstant(microsecondsSinceEpoch: Int64(minute * 60_000_000 + microsecond))
            let expected = stepped(model, from: minute + 1, count: 4).map {
                UTCInstant(secondsSinceEpoch: Int64($0 * 60))
            }
            // The first is always within the bound of `stepped`; of 29 Februaries on one weekday, not all four are.
            try #require(!expected.isEmpty, "'\(model.text)' from \(start), seed \(seed)")
            try check(schedule, after: start, expected, seed: seed)
        }
        #expect(refused < 300, "the generator makes too few schedules that fire, seed \(seed)")
    }

    /// `next` walks the expected times forward, and `previous` back again.
    private func check(
        _ schedule: Schedule, after start: UTCInstant, _ expected: [UTCInstant], in zone: TimeZoneRules? = nil,
        seed: UInt64
    ) throws {
        var last = start
        for time in expected {
            let found = schedule.next(after: last, in: zone)
            if found != time {
                try #require(found == time, "'\(schedule)' after \(last), seed \(seed)")
            }
            last = time
        }
        for (earlier, later) in zip(expected, expected.dropFirst()) {
            for instant in [earlier, later - .microseconds(1), earlier + .microseconds(1)] where instant < later {
                let found = schedule.previous(atOrBefore: instant, in: zone)
                if found != earlier {
                    try #require(found == earlier, "'\(schedule)' at or before \(instant), seed \(seed)")
                }
            }
        }
    }

    @Test func findsThePreviousFireTimeAsTheInverseOfTheNext() throws {
        let seed = SeededRandom.seed()
        var random = SeededRandom(seed: seed)
        let zones = try [nil] + ["Europe/Berlin", "Pacific/Apia", "Australia/Lord_Howe"].map { try ZoneFile.rules($0) }
        for _ in 0..<2_000 {
            let seconds = random.chance(10) ? "\(Int.random(in: 1...59, using: &random)) seconds" : nil
            guard let schedule = try? Schedule(seconds ?? RandomSchedule(using: &random).text) else { continue }
            let zone = random.pick(zones)
            let start = UTCInstant(microsecondsSinceEpoch: .random(in: 0...4_200_000_000_000_000, using: &random))
            let next = try #require(schedule.next(after: start, in: zone))
            let previous = try #require(schedule.previous(atOrBefore: start, in: zone))
            let holds =
                previous <= start && start < next
                && schedule.previous(atOrBefore: next, in: zone) == next
                && schedule.previous(atOrBefore: next - .microseconds(1), in: zone) == previous
                && schedule.next(after: previous, in: zone) == next
                && schedule.next(after: previous - .microseconds(1), in: zone) == previous
            if !holds { try #require(holds, "'\(schedule)' around \(start), seed \(seed)") }
        }
    }

    /// Every day and month with every weekday, over the 400 years after which the calendar repeats.
    @Test func waitsNoLongerThanTheBoundOnTheSearch() throws {
        var last: [Int: Int] = [:]
        var longest = 0
        for round in 0..<2 {
            for day in PaperCalendar.cycle {
                let year = day.year + round * 400
                let key = (day.month * 100 + day.day) * 10 + day.weekday
                if let before = last[key] { longest = max(longest, year - before) }
                last[key] = year
            }
        }
        #expect(last.count == 366 * 7)
        #expect(longest == CalendarRule.longestGapInYears)
    }

    // MARK: Zones

    /// Some days of a zone: for each local minute, the UTC minute at which clocks first showed it, found by trying all.
    private struct ClockFace {
        /// Local minutes, ascending, with the UTC minute at which each fires.
        var fires: [(local: Int, utc: Int)] = []

        init(of zone: TimeZoneRules, from minute: Int, minutes: Int) {
            let shown = Self.localMinutes(of: zone, from: minute, minutes: minutes)
            let low = shown.min()!
            var firstShown = [Int](repeating: -1, count: shown.max()! - low + 1)
            for (index, local) in shown.enumerated() where firstShown[local - low] < 0 {
                firstShown[local - low] = minute + index
            }
            for (index, utc) in firstShown.enumerated() {
                let local = low + index
                // A local minute that was skipped fires at the first UTC minute whose local time is later.
                fires.append((local, utc >= 0 ? utc : minute + shown.firstIndex { $0 > local }!))
            }
        }

        /// The local minute at each UTC minute.
        private static func localMinutes(of zone: TimeZoneRules, from minute: Int, minutes: Int) -> [Int] {
            func offset(_ minute: Int) -> Int {
                Int(zone.offset(at: UTCInstant(secondsSinceEpoch: Int64(minute * 60))).components.seconds) / 60
            }
            var shown: [Int] = []
            var atStart = offset(minute)
            for hour in stride(from: minute, to: minute + minutes, by: 60) {
                let atEnd = offset(hour + 60)
                shown += (hour..<hour + 60).map { $0 + (atStart == atEnd ? atStart : offset($0)) }
                atStart = atEnd
            }
            return shown
        }
    }

    @Test func namesTheFireTimesThatSteppingThroughTheMinutesOfAZoneFinds() async throws {
        let seed = SeededRandom.seed()
        var random = SeededRandom(seed: seed)
        let day = 1440
        for name in ZoneFile.interesting {
            let zone = try ZoneFile.rules(name)
            // 8 days of each zone take 10 s, which is too long for each run.
            for _ in 0..<2 {
                await Task.yield()
                let middle = dayOfAChange(of: zone, using: &random) * day
                // The first and last days lack a part of their past or future.
                let (start, end) = (middle - day, middle + 2 * day)
                let clock = ClockFace(of: zone, from: start - 2 * day, minutes: 7 * day)
                let candidates = clock.fires.filter { start <= $0.utc && $0.utc < end }
                for _ in 0..<6 {
                    let model = dense(RandomSchedule(using: &random), using: &random)
                    guard let schedule = try? Schedule(model.text) else { continue }
                    var expected: [UTCInstant] = []
                    for (local, utc) in candidates {
                        guard model.minutes[local % 60], model.hours[local % day / 60],
                            model.matches(PaperCalendar.day(local / day))
                        else { continue }
                        let fireTime = UTCInstant(secondsSinceEpoch: Int64(utc * 60))
                        if expected.last != fireTime { expected.append(fireTime) }
                    }
                    // The model ends before the next fire time; it must be after the end.
                    let before = UTCInstant(secondsSinceEpoch: Int64(start * 60)) - .microseconds(1)
                    let beyond = try #require(schedule.next(after: expected.last ?? before, in: zone))
                    if beyond.wholeSecondsSinceEpoch < end * 60 {
                        Issue.record("'\(schedule)' in \(name) at \(beyond), seed \(seed)")
                    }
                    try check(schedule, after: before, Array(expected.prefix(100)), in: zone, seed: seed)
                    try checkBetween(expected, schedule, in: zone, from: start, until: end, using: &random, seed: seed)
                }
            }
        }
    }

    /// From any instant, also in a repeated hour, `next` is the first expected time after it, and `previous` the last before.
    private func checkBetween(
        _ expected: [UTCInstant], _ schedule: Schedule, in zone: TimeZoneRules, from start: Int, until end: Int,
        using random: inout SeededRandom, seed: UInt64
    ) throws {
        for _ in 0..<30 {
            let seconds = Int.random(in: start * 60..<end * 60, using: &random)
            let instant = UTCInstant(secondsSinceEpoch: Int64(random.chance(2) ? seconds : seconds / 60 * 60))
            if let later = expected.first(where: { $0 > instant }) {
                let found = schedule.next(after: instant, in: zone)
                if found != later { try #require(found == later, "'\(schedule)' after \(instant), seed \(seed)") }
            }
            if let earlier = expected.last(where: { $0 <= instant }) {
                let found = schedule.previous(atOrBefore: instant, in: zone)
                if found != earlier { try #require(found == earlier, "'\(schedule)' before \(instant), seed \(seed)") }
            }
        }
    }

    /// Returns a schedule that fires on more days: most random ones fire on few.
    private func dense(_ schedule: RandomSchedule, using random: inout SeededRandom) -> RandomSchedule {
        guard !random.chance(4) else { return schedule }
        var dense = schedule
        let fields = schedule.text.split { $0 == " " || $0 == "\t" }
        dense.text = "\(fields[0]) \(fields[1]) * * *"
        dense.days = [Bool](repeating: true, count: 32)
        dense.months = [Bool](repeating: true, count: 13)
        dense.weekdays = [Bool](repeating: true, count: 8)
        (dense.isLastDay, dense.needsBothDays) = (false, true)
        return dense
    }

    /// Returns a day from 1973 to 2100 with a clock change, or any day if the random year has none.
    ///
    /// Until 1972 an offset (Liberia's) was no whole number of minutes, which the model requires.
    private func dayOfAChange(of zone: TimeZoneRules, using random: inout SeededRandom) -> Int {
        let start = Int.random(in: 1_100...47_400, using: &random)
        let offsets = (start...start + 365).map { zone.offset(at: UTCInstant(secondsSinceEpoch: Int64($0 * 86_400))) }
        let changes = (0..<365).filter { offsets[$0] != offsets[$0 + 1] }
        return start + (changes.randomElement(using: &random) ?? 0)
    }
}
