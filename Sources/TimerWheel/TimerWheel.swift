import BasicContainers

/// A set of timers that is told the time and answers which are due, in exact order, and when to ask again.
///
/// Instants are `UInt64` of one clock in any unit with any origin. No timer is popped before its deadline, even when `now` runs
/// backward; of those that are due, `pop` returns the one of the earliest deadline, and of equal deadlines the one added first.
/// A deadline before the `cursor`, which a `pop` has passed, counts as the cursor's.
///
/// Adding and canceling take constant time, and `next` at most `scanLimit` steps. A pop may open a slot, which moves all timers
/// in it, each at most ten times in its life. Memory is 32 bytes a timer, and 22.5 KiB for the slots.
package struct TimerWheel: ~Copyable, Sendable {
    /// Names one timer of one wheel from its adding to its end; afterward it names nothing. Another wheel may take it for one of
    /// its own timers.
    package struct Handle: Hashable, Sendable {
        let node: Int32
        let generation: UInt32
    }

    package struct DueTimer: Hashable, Sendable {
        package let deadline: UInt64
        package let payload: UInt64
    }

    /// The most timers of a slot that `next` reads to find the earliest one; for a fuller slot it returns the slot's
    /// start. A scan of 128 costs less than a microsecond, an unneeded wake-up of the process some 35.
    package static let scanLimit = 128

    /// The head at index 0 can never be free, so its index ends the list of free entries.
    static let endOfFreeList: Int32 = 0

    /// The heads of all slots, then as many entries as there ever were timers at once.
    var slab: RigidArray<TimerNode>
    var occupied = OccupiedSlots()
    /// The entry that the next timer gets, the start of a list linked by `next`.
    var firstFree = TimerWheel.endOfFreeList
    /// Before this instant nothing is due and no slot is to be opened: a `pop` that comes too soon returns at once.
    /// Never later than `next`: else an owner who wakes at a slot's start would find the slot unopened, and wake again.
    var quietBefore: UInt64 = 0
    /// The instant that slots are computed from: never later than the greatest `now` so far, nor than a pending timer.
    /// It moves when a slot is opened or a timer alone in its slot is popped, not whenever time passes.
    package internal(set) var cursor: UInt64 = 0
    package internal(set) var count = 0

    /// - Parameter minimumCapacity: the number of timers to have memory for. Memory that is used up doubles, which amortizes to
    ///   constant time, and is never given back.
    package init(minimumCapacity: Int = 64) {
        slab = RigidArray(capacity: SlotIndex.count + max(1, minimumCapacity))
        for slot in 0..<SlotIndex.count { slab.append(.emptyHead(at: slot)) }
    }

    package var isEmpty: Bool { count == 0 }

    /// Adds a timer that is due at `deadline`, or at the cursor if that is later, behind all pending ones of that time.
    package mutating func add(deadline: UInt64, payload: UInt64) -> Handle {
        let deadline = max(deadline, cursor)
        let slot = SlotIndex.of(deadline, from: cursor)
        let last = slab[slot].previous
        // The node is written as a whole, links included: a store for each field would take half as long again.
        var timer = TimerNode(
            deadline: deadline, payload: payload, generation: 1, next: Int32(truncatingIfNeeded: slot), previous: last)
        var node = Int(firstFree)
        if firstFree == Self.endOfFreeList {
            if slab.isFull { grow() }
            node = slab.count
            slab.append(timer)
        } else {
            firstFree = slab[node].next
            timer.generation = slab[node].generation &+ 1
            slab[node] = timer
        }
        let handle = Handle(node: Int32(truncatingIfNeeded: node), generation: timer.generation)
        slab[Int(last)].next = handle.node
        slab[slot].previous = handle.node
        if Int(last) == slot { occupied.insert(slot) }
        // Not set to the deadline: `next` may have returned the slot's start, which is earlier.
        if deadline < quietBefore { quietBefore = 0 }
        count &+= 1
        return handle
    }

    /// Removes the timer of `handle` and returns its payload, or nil if it was popped or canceled before.
    package mutating func cancel(_ handle: Handle) -> UInt64? {
        isPending(handle) ? remove(Int(handle.node)).payload : nil
    }

    package func deadline(of handle: Handle) -> UInt64? {
        isPending(handle) ? slab[Int(handle.node)].deadline : nil
    }

    @inline(__always)
    private func isPending(_ handle: Handle) -> Bool {
        let node = Int(handle.node)
        return node < slab.count && slab[node].generation == handle.generation
    }

    /// The instant to call `pop` at: never later than the earliest deadline; nil when the wheel is empty. It is that deadline
    /// itself when the first occupied slot holds at most `scanLimit` timers, else the slot's start, where `pop` may find nothing
    /// due. After `pop(now:)` has returned nil, it is later than that `now` unless something was added since.
    package var next: UInt64? {
        guard let slot = occupied.first else { return nil }
        if slot < SlotIndex.slotsPerLevel { return slab[Int(slab[slot].next)].deadline }
        return earliestDeadline(in: slot, among: Self.scanLimit) ?? SlotIndex.start(of: slot, from: cursor)
    }

    /// Removes and returns the first timer that is due at `now`, or nil when none is.
    package mutating func pop(now: UInt64) -> DueTimer? {
        guard now >= quietBefore else { return nil }
        return popDue(now: now)
    }

    /// Loops at most twice: opening a slot puts its earliest timer on level 0 if it is due; if it is not, the cursor
    /// comes so close to it that the next slot starts later than `now`.
    @inline(never)
    private mutating func popDue(now: UInt64) -> DueTimer? {
        while let slot = occupied.first {
            if slot < SlotIndex.slotsPerLevel {
                let node = Int(slab[slot].next)
                let deadline = slab[node].deadline
                if deadline <= now { return remove(node) }
                quietBefore = deadline
                return nil
            }
            let start = SlotIndex.start(of: slot, from: cursor)
            guard start <= now else {
                quietBefore = start
                return nil
            }
            // A slot holds at most `count` timers, so there is a deadline, and the start is never taken.
            let deadline = earliestDeadline(in: slot, among: count) ?? start
            if deadline <= now, slab[slot].next == slab[slot].previous {
                // The timer is alone in its slot, so it is taken at once, without being moved level by level.
                cursor = deadline
                return remove(Int(slab[slot].next))
            }
            // Later than at the slot's start if possible, so that timers skip the levels in which they do not differ.
            open(slot, at: min(deadline, now))
        }
        return nil
    }

    /// The earliest deadline in an occupied slot, or nil if it holds more than `most` timers. Goes from both ends at once: the
    /// two chains of loads wait for memory at the same time.
    @inline(__always)
    private func earliestDeadline(in slot: Int, among most: Int) -> UInt64? {
        var front = Int(slab[slot].next)
        var back = Int(slab[slot].previous)
        var earliest = UInt64.max
        for _ in 0..<(most &+ 1) / 2 {
            earliest = min(earliest, min(slab[front].deadline, slab[back].deadline))
            if front == back { return earliest }
            front = Int(slab[front].next)
            if front == back { return earliest }
            back = Int(slab[back].previous)
        }
        return nil
    }

    /// Moves the cursor into `slot`, the first occupied one, to an instant that no timer precedes, and moves the slot's
    /// timers to lower levels. These are empty, so timers of one deadline keep their order.
    private mutating func open(_ slot: Int, at instant: UInt64) {
        var node = Int(slab[slot].next)
        slab[slot] = .emptyHead(at: slot)
        occupied.remove(slot)
        cursor = instant
        while node != slot {
            let following = Int(slab[node].next)
            let target = SlotIndex.of(slab[node].deadline, from: cursor)
            let last = slab[target].previous
            slab[node].previous = last
            slab[node].next = Int32(truncatingIfNeeded: target)
            slab[Int(last)].next = Int32(truncatingIfNeeded: node)
            slab[target].previous = Int32(truncatingIfNeeded: node)
            occupied.insert(target)
            node = following
        }
    }

    @inline(__always)
    private mutating func remove(_ node: Int) -> DueTimer {
        let timer = slab[node]
        slab[Int(timer.previous)].next = timer.next
        slab[Int(timer.next)].previous = timer.previous
        // Only the last timer of a list has the same neighbor on both sides: the head, whose index is the slot.
        if timer.previous == timer.next { occupied.remove(Int(timer.next)) }
        count &-= 1
        slab[node].generation = timer.generation &+ 1
        if timer.generation != .max {
            slab[node].next = firstFree
            firstFree = Int32(truncatingIfNeeded: node)
        }
        return DueTimer(deadline: timer.deadline, payload: timer.payload)
    }

    /// Doubles the memory. `Int32` links suffice for entries of 64 GiB, which a process does not have.
    @inline(never)
    private mutating func grow() {
        slab.reallocate(capacity: SlotIndex.count + 2 * (slab.capacity - SlotIndex.count))
    }
}

/// One entry of the slab, of 32 bytes: a pending timer, a free entry, or, among the first, the head of a slot's list.
struct TimerNode: BitwiseCopyable {
    /// The instant of a pending timer, in the wheel's unit, and the owner's value; zero in a head.
    var deadline: UInt64
    var payload: UInt64
    /// The number of times, modulo 2^32, that a timer was put into the entry or taken out of it: odd while one is
    /// pending; zero in a head. An entry whose number is zero again is given up: it is in no list.
    var generation: UInt32
    /// The neighbors in the circular list of the slot; of a free entry only `next` has a meaning, in the list of free entries.
    var next: Int32
    var previous: Int32

    /// A head whose list is empty: it links to itself.
    static func emptyHead(at index: Int) -> TimerNode {
        let link = Int32(truncatingIfNeeded: index)
        return TimerNode(deadline: 0, payload: 0, generation: 0, next: link, previous: link)
    }
}
