import BasicContainers

/// Timers added with deadlines before the cursor.
///
/// They have no slot of their own: seen from the cursor their instants are gone. They wait in the cursor's slot of
/// level 0, ahead of the timers of that very instant and sorted by deadline and age. It is the first of all slots,
/// and the cursor cannot move while it is occupied. Few timers are overdue by so much (a pop has already returned a
/// later one), so that the list is short; `rewind` keeps a long one from costing more than a constant for each timer.
extension TimerWheel {
    /// How far a place is searched for from either end of the list.
    ///
    /// Large enough that a burst of late retries finds its place without moving anything; small enough (a
    /// microsecond) not to be felt. Wrong if rewinds show up in a profile.
    package static let overdueScanLimit = 64

    /// Links an entry into the cursor's slot, behind all that are not later than it.
    @inline(never)
    mutating func placeOverdue(_ node: Int, deadline: UInt64) {
        let slot = SlotIndex.of(cursor, from: cursor)
        var fromFront = Int(slab[slot].next)
        var fromBack = Int(slab[slot].previous)
        for _ in 0..<Self.overdueScanLimit {
            if fromFront == slot || slab[fromFront].deadline > deadline {
                link(node, before: fromFront)
                occupied.insert(slot)
                return
            }
            if slab[fromBack].deadline <= deadline {
                link(node, before: Int(slab[fromBack].next))
                return
            }
            fromFront = Int(slab[fromFront].next)
            fromBack = Int(slab[fromBack].previous)
        }
        // The list is sorted, so its first timer is the earliest of all, and not later than this one.
        rewind(to: slab[Int(slab[slot].next)].deadline)
        place(node, deadline: deadline)
    }

    /// Moves the cursor back to the earliest deadline, after which no timer is overdue.
    ///
    /// Costs a new placing of the timers below the level in which the two instants differ; those of that level and
    /// above keep their slots. It takes `overdueScanLimit` overdue timers to come to this and none is left, so that
    /// each bears at most that fraction of it.
    private mutating func rewind(to instant: UInt64) {
        let level = SlotIndex.level(of: SlotIndex.of(instant, from: cursor))
        var moved: [Int] = []
        // Level 0 at least: the overdue are there.
        for slot in 0..<max(1, level) * SlotIndex.slotsPerLevel where occupied.contains(slot) {
            var node = Int(slab[slot].next)
            while node != slot {
                moved.append(node)
                node = Int(slab[node].next)
            }
            slab[slot] = .emptyHead(at: slot)
            occupied.remove(slot)
        }
        cursor = instant
        // Timers of one deadline were in one slot, in order; placed one after the other they are so again.
        for node in moved { place(node, deadline: slab[node].deadline) }
    }
}
