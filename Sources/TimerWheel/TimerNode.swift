/// One entry of the slab, of 32 bytes: a pending timer, a free entry, or, among the first, the head of a slot's list.
struct TimerNode: BitwiseCopyable {
    /// The instant of a pending timer, in the wheel's unit; zero in a head.
    var deadline: UInt64
    /// The owner's value; zero in a head.
    var payload: UInt64
    /// The number of times that a timer was put into the entry or taken out of it: odd while one is pending; zero in a
    /// head. An entry that has had them all is zero again, and given up: in no list.
    var generation: UInt32
    /// The entry that follows in the circular list of the slot, or in the list of free entries.
    var next: Int32
    /// The entry before this one in the circular list of the slot; without meaning in a free entry.
    var previous: Int32

    /// A head whose list is empty: it links to itself.
    static func emptyHead(at index: Int) -> TimerNode {
        let link = Int32(truncatingIfNeeded: index)
        return TimerNode(deadline: 0, payload: 0, generation: 0, next: link, previous: link)
    }
}
