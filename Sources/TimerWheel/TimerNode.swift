import BasicContainers

/// One entry of the slab: a pending timer, a free entry, or the head of a slot's list.
///
/// 32 bytes: two to a cache line, none across two. The first `SlotIndex.count` entries of a slab are heads for ever;
/// of the others those with a serial of zero are free.
struct TimerNode: BitwiseCopyable {
    /// The instant of a pending timer, in the wheel's unit; zero in a head.
    var deadline: UInt64

    /// What the owner stored; zero in a head.
    var payload: UInt64

    /// The number of the `add` that made the timer, counted from one; zero in a head and in a free entry.
    var serial: UInt64

    /// The entry that follows in the circular list of the slot, or in the list of free entries.
    var next: Int32

    /// The entry before this one in the circular list of the slot; without meaning in a free entry.
    var previous: Int32

    /// A head whose list is empty: it links to itself.
    static func emptyHead(at index: Int) -> TimerNode {
        let link = Int32(truncatingIfNeeded: index)
        return TimerNode(deadline: 0, payload: 0, serial: 0, next: link, previous: link)
    }
}
