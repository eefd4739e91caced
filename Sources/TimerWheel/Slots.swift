import BasicContainers

/// The arithmetic of slots: 11 levels, one for each 6 bits of an instant, of 64 slots each.
///
/// A slot is named by the index of its head in the slab, `level * 64 + digit`. Eleven levels hold 66 bits, so every
/// `UInt64` has a slot; of the highest level only the first 16 slots are ever used.
enum SlotIndex {
    static let bitsPerLevel = 6
    static let slotsPerLevel = 64
    static let levels = 11
    static let count = levels * slotsPerLevel

    /// The slot of `deadline` as seen from `cursor`: its level is that of the highest bit in which the two differ.
    ///
    /// Placing by that bit, and not by distance, gives equal deadlines the same slot whenever they are added. Hence a
    /// slot's list keeps them in the order of adding without comparing anything.
    @inline(__always)
    static func of(_ deadline: UInt64, from cursor: UInt64) -> Int {
        // The lowest bit is set so that equal instants, which differ in no bit, come out at level 0.
        let highestBit = 63 &- ((deadline ^ cursor) | 1).leadingZeroBitCount
        // A 32-bit division by a constant is one multiplication.
        let level = Int(truncatingIfNeeded: UInt32(truncatingIfNeeded: highestBit) / UInt32(bitsPerLevel))
        return level &* slotsPerLevel &+ Int(truncatingIfNeeded: (deadline &>> shift(of: level)) & 63)
    }

    /// The first instant of `slot`, given a cursor that has not entered it.
    @inline(__always)
    static func start(of slot: Int, from cursor: UInt64) -> UInt64 {
        let shift = shift(of: level(of: slot))
        return (((cursor &>> shift) & ~63) | UInt64(truncatingIfNeeded: slot & 63)) &<< shift
    }

    @inline(__always)
    static func level(of slot: Int) -> Int { slot &>> bitsPerLevel }

    /// At most 60, so that the masking shifts above never mask anything.
    @inline(__always)
    private static func shift(of level: Int) -> UInt64 { UInt64(truncatingIfNeeded: level &* bitsPerLevel) }
}

/// The slots that hold timers: a word for each level with one bit a slot, and a summary with one bit a level.
///
/// All that the cursor has passed is empty, and lower levels and slots hold earlier instants. Hence two counts of
/// trailing zeros find the first occupied slot, however many timers there are.
struct OccupiedSlots: ~Copyable {
    private(set) var summary: UInt64 = 0
    /// Not an `InlineArray`: Swift 6.3 copies the whole of one (88 bytes) to read one word of it through a borrow, which made
    /// `TimerWheel.next` four times slower than this indirection does.
    private(set) var words = RigidArray<UInt64>(repeating: 0, count: SlotIndex.levels)

    /// The occupied slot of the earliest instants.
    @inline(__always)
    var first: Int? {
        guard summary != 0 else { return nil }
        let level = summary.trailingZeroBitCount
        return level &* SlotIndex.slotsPerLevel &+ words[level].trailingZeroBitCount
    }

    @inline(__always)
    mutating func insert(_ slot: Int) {
        let level = SlotIndex.level(of: slot)
        words[level] |= bit(of: slot)
        summary |= bit(of: level)
    }

    @inline(__always)
    mutating func remove(_ slot: Int) {
        let level = SlotIndex.level(of: slot)
        words[level] &= ~bit(of: slot)
        if words[level] == 0 { summary &= ~bit(of: level) }
    }

    /// The masking shift takes the slot modulo 64, which is its digit.
    @inline(__always)
    private func bit(of index: Int) -> UInt64 { 1 &<< UInt64(truncatingIfNeeded: index) }
}
