import BasicContainers

/// One entry of the slab: a pending timer, a free entry, or the head of a slot's list.
///
/// 32 bytes. The first `SlotIndex.count` entries of a slab are heads for ever; of the others those with an even
/// generation are free.
struct TimerNode: BitwiseCopyable {
    /// The instant of a pending timer, in the wheel's unit; zero in a head.
    var deadline: UInt64

    /// What the owner stored; zero in a head.
    var payload: UInt64

    /// How often a timer was put into the entry or taken out of it: odd while one is pending; zero in a head.
    var generation: UInt32

    /// The number of the `add` that made the timer, modulo 2^32: the order of equal deadlines, for the check of invariants.
    var sequence: UInt32

    /// The entry that follows in the circular list of the slot, or in the list of free entries.
    var next: Int32

    /// The entry before this one in the circular list of the slot; without meaning in a free entry.
    var previous: Int32

    /// A head whose list is empty: it links to itself.
    static func emptyHead(at index: Int) -> TimerNode {
        let link = Int32(truncatingIfNeeded: index)
        return TimerNode(deadline: 0, payload: 0, generation: 0, sequence: 0, next: link, previous: link)
    }
}
