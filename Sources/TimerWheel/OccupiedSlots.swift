import BasicContainers

/// The slots that hold timers: a word for each level with one bit a slot, and a summary with one bit a level.
///
/// Lower levels hold earlier instants, and so do lower slots of one level: all that the cursor has passed is empty.
/// Hence the first occupied slot is two counts of trailing zeros, however many timers there are.
struct OccupiedSlots: ~Copyable {
    private(set) var summary: UInt64 = 0

    /// Not an `InlineArray`: Swift 6.3 copies the whole of one (88 bytes) to read one word of it through a borrow,
    /// which made `TimerWheel.next` four times slower than this indirection does.
    private(set) var words = RigidArray<UInt64>(repeating: 0, count: SlotIndex.levels)

    /// The occupied slot of the earliest instants, or nil when all are empty.
    @inline(__always)
    var first: Int? {
        guard summary != 0 else { return nil }
        let level = summary.trailingZeroBitCount
        return level &* SlotIndex.slotsPerLevel &+ words[level].trailingZeroBitCount
    }

    /// Marks `slot` as holding timers.
    @inline(__always)
    mutating func insert(_ slot: Int) {
        let level = SlotIndex.level(of: slot)
        words[level] |= bit(of: slot)
        summary |= bit(of: level)
    }

    /// Marks `slot` as empty, and its level too if no other slot of it holds timers.
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
