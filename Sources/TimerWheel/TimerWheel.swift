import BasicContainers

/// A set of timers that is told the time and answers what is due, in exact order, and when to ask again.
///
/// The wheel never reads a clock, never blocks, never calls back: `pop` hands out one timer at a time, and between
/// two pops the owner may add and cancel as it likes. Instants are `UInt64` in any unit with any origin, as long as
/// one wheel sees one clock; all values, zero and `UInt64.max` included, are valid deadlines.
///
/// What is promised of every `pop(now:)`:
/// * never early: no timer leaves before its deadline, even when `now` runs backward;
/// * never missed: as long as a timer with `deadline <= now` is pending, `pop` returns one;
/// * exact order: it is the pending timer of the earliest deadline, and of equal deadlines the one added first. This
///   holds for overdue deadlines too, those before the `cursor`: they are due at once and go first, as their
///   deadlines say. Only what was popped already cannot be called back, so an overdue timer follows a later one that
///   left before it was added.
///
/// Adding and canceling take constant time, and `next` at most `scanLimit` steps. A pop may open a slot, which moves
/// all timers in it; each is moved at most ten times in its life (overdue timers aside: see `add`). Memory is 32
/// bytes a timer, for the most there ever were at once, and 22.5 KiB for the slots; what is given up (see `Handle`) stays.
package struct TimerWheel: ~Copyable, Sendable {
    /// Names one timer of one wheel from its adding to its end; afterward it names nothing, for ever.
    ///
    /// Eight bytes. An entry of the slab counts its generations, and one that has had them all is given up, so a stale
    /// handle cannot come to name a newer timer. A handle means nothing to another wheel than its own, which cannot tell
    /// and may take it for one of its timers.
    package struct Handle: Hashable, Sendable {
        let node: Int32
        let generation: UInt32
    }

    /// A timer that `pop` found due and removed.
    package struct DueTimer: Hashable, Sendable {
        /// The instant the timer was added for, at or before the `now` of the `pop`.
        package let deadline: UInt64

        /// What was given to `add`.
        package let payload: UInt64
    }

    /// How many timers of a slot are looked at for the earliest one, before settling for the slot's start.
    ///
    /// A scan of 128 costs less than a microsecond, an unneeded wake-up of the process some 35. Wrong if timers come
    /// by the ten thousand in bursts so close that the wake-ups for slot starts are needed anyway.
    package static let scanLimit = 128

    /// The most timers a wheel takes unless told otherwise: 32 MiB of slab, far above what a daemon waits for.
    ///
    /// Reaching it means that timers are added and neither canceled nor popped; better a named end than the memory's.
    package static let defaultLimit = 1 << 20

    /// The most timers that `Int32` links can tell apart.
    package static let greatestLimit = Int(Int32.max) - SlotIndex.count

    /// What the slab takes for each timer, in bytes.
    package static var bytesPerTimer: Int { MemoryLayout<TimerNode>.stride }

    /// A head can never be free, so its index ends the list of free entries.
    static let endOfFreeList: Int32 = 0

    /// The heads of all slots, then one entry for each timer there ever was at once, and those that are given up.
    var slab: RigidArray<TimerNode>

    /// The slots whose lists are not empty.
    var occupied = OccupiedSlots()

    /// The entry that the next timer gets, the start of a list linked by `next`.
    var firstFree = TimerWheel.endOfFreeList

    /// How many entries are given up: two thousand million timers each.
    var retired = 0

    /// How many timers were ever added, modulo 2^32.
    var lastSequence: UInt32 = 0

    /// Before this instant nothing is due and no slot is to be opened: lets a `pop` that comes too soon return at
    /// once. Never later than `next`, or an owner who wakes for a slot's start would find it closed and wake again,
    /// and again.
    var quietBefore: UInt64 = 0

    /// The instant that slots are reckoned from: never later than the greatest `now` so far, and never later than a
    /// pending timer, overdue ones aside. It moves when a slot is opened, not whenever time passes.
    package internal(set) var cursor: UInt64 = 0

    /// How many timers are pending.
    package internal(set) var count = 0

    /// The most timers that may be pending at once.
    package let limit: Int

    /// An empty wheel.
    ///
    /// - Parameters:
    ///   - minimumCapacity: how many timers to have memory for from the start. Beyond it memory doubles when it is
    ///     used up, up to the limit: `add` then copies all there is, which amortizes to constant time. It is never
    ///     given back.
    ///   - limit: the most timers that may be pending at once, at most `greatestLimit`.
    package init(minimumCapacity: Int = 64, limit: Int = TimerWheel.defaultLimit) {
        precondition(limit >= 1 && limit <= Self.greatestLimit, "TimerWheel: limit out of range")
        self.limit = limit
        slab = RigidArray(capacity: SlotIndex.count + max(1, min(minimumCapacity, limit)))
        for slot in 0..<SlotIndex.count { slab.append(.emptyHead(at: slot)) }
    }

    /// Whether no timer is pending.
    package var isEmpty: Bool { count == 0 }

    /// Adds a timer that is due at `deadline`, and behind all pending ones of the same deadline.
    ///
    /// A deadline in the past is due at once. One before the `cursor` is put in its exact place among the overdue,
    /// from the nearer end of their list: constant time for a few, or for many that come in order; otherwise at most
    /// `2 * overdueScanLimit` steps, and no more than once in `overdueScanLimit` such timers a new placing of all.
    ///
    /// - Precondition: fewer than `limit` timers are pending.
    package mutating func add(deadline: UInt64, payload: UInt64) -> Handle {
        guard deadline >= cursor else { return addOverdue(deadline: deadline, payload: payload) }
        let slot = SlotIndex.of(deadline, from: cursor)
        let last = slab[slot].previous
        // Written once, with its links: with every store counted, adding takes two thirds of the time.
        let handle = enter(deadline: deadline, payload: payload, next: Int32(truncatingIfNeeded: slot), previous: last)
        slab[Int(last)].next = handle.node
        slab[slot].previous = handle.node
        if Int(last) == slot { occupied.insert(slot) }
        // Not the deadline: the slot's start may be announced, and is earlier.
        if deadline < quietBefore { quietBefore = 0 }
        return handle
    }

    @inline(never)
    private mutating func addOverdue(deadline: UInt64, payload: UInt64) -> Handle {
        let handle = enter(deadline: deadline, payload: payload, next: 0, previous: 0)
        placeOverdue(Int(handle.node), deadline: deadline)
        quietBefore = 0
        return handle
    }

    /// Removes the timer of `handle` and returns its payload, or nil if it was popped or canceled before.
    package mutating func cancel(_ handle: Handle) -> UInt64? {
        let node = Int(handle.node)
        guard node < slab.count, slab[node].generation == handle.generation else { return nil }
        return remove(node).payload
    }

    /// The instant to call `pop` at: never later than the earliest deadline; nil when the wheel is empty.
    ///
    /// It is that deadline itself when the first occupied slot holds at most `scanLimit` timers, else the slot's
    /// start: `pop` may find nothing due then, but opens the slot. It may lie in the past. After `pop(now:)` has
    /// returned nil, it is later than that `now` unless something was added since.
    package var next: UInt64? {
        guard let slot = occupied.first else { return nil }
        if slot < SlotIndex.slotsPerLevel { return slab[Int(slab[slot].next)].deadline }
        return earliestDeadline(in: slot, among: Self.scanLimit) ?? SlotIndex.start(of: slot, from: cursor)
    }

    /// Removes and returns the first timer that is due at `now`, or nil when none is.
    ///
    /// To get all that is due, call until nil. Timers added meanwhile with deadlines at or before `now` come too, so
    /// an owner that adds such a timer for each one it pops never sees the nil: the bound is the owner's to set.
    package mutating func pop(now: UInt64) -> DueTimer? {
        guard now >= quietBefore else { return nil }
        return popDue(now: now)
    }

    /// Takes two turns at most: opening a slot puts its earliest timer on level 0 if it is due, and if it is not, the
    /// cursor so close that the next slot starts later than `now`.
    @inline(never)
    private mutating func popDue(now: UInt64) -> DueTimer? {
        while let slot = occupied.first {
            if slot < SlotIndex.slotsPerLevel {
                let node = Int(slab[slot].next)
                let deadline = slab[node].deadline
                guard deadline <= now else { return pause(until: deadline) }
                return remove(node)
            }
            let start = SlotIndex.start(of: slot, from: cursor)
            guard start <= now else { return pause(until: start) }
            // No slot holds more than there are, so the start is never taken; it would be right, too.
            let deadline = earliestDeadline(in: slot, among: count) ?? start
            if deadline <= now, slab[slot].next == slab[slot].previous {
                // Alone in its slot: due as it stands, without being moved level by level.
                cursor = deadline
                return remove(Int(slab[slot].next))
            }
            // Further than the slot's start, so that its timers skip the levels in which they do not differ. The scan
            // above is not lost: it brings into the cache, by two ways at once, what is now moved one by one.
            open(slot, at: min(deadline, now))
        }
        return nil
    }

    private mutating func pause(until instant: UInt64) -> DueTimer? {
        quietBefore = instant
        return nil
    }

    /// The earliest deadline in an occupied slot, or nil if it holds more than `most` timers.
    ///
    /// Goes from both ends at once: the two chains of loads wait for memory at the same time.
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

    /// Moves the cursor into `slot`, the first occupied one, and its timers to lower levels.
    ///
    /// - Precondition: no timer is earlier than `instant`, and `instant` is in the slot. All lower levels are empty,
    ///   so that timers of one deadline keep their order by being taken and appended in turn.
    private mutating func open(_ slot: Int, at instant: UInt64) {
        var node = Int(slab[slot].next)
        slab[slot] = .emptyHead(at: slot)
        occupied.remove(slot)
        cursor = instant
        while node != slot {
            let following = Int(slab[node].next)
            place(node, deadline: slab[node].deadline)
            node = following
        }
    }

    /// Appends an entry to the list of its slot.
    ///
    /// - Precondition: `deadline` is not before the cursor.
    @inline(__always)
    mutating func place(_ node: Int, deadline: UInt64) {
        let slot = SlotIndex.of(deadline, from: cursor)
        link(node, before: slot)
        occupied.insert(slot)
    }

    /// Puts an entry into the list of `successor`, an entry or a head, in front of it.
    @inline(__always)
    mutating func link(_ node: Int, before successor: Int) {
        let previous = slab[successor].previous
        slab[node].previous = previous
        slab[node].next = Int32(truncatingIfNeeded: successor)
        slab[Int(previous)].next = Int32(truncatingIfNeeded: node)
        slab[successor].previous = Int32(truncatingIfNeeded: node)
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
        if timer.generation == .max {
            retired += 1
        } else {
            slab[node].next = firstFree
            firstFree = Int32(truncatingIfNeeded: node)
        }
        return DueTimer(deadline: timer.deadline, payload: timer.payload)
    }

    /// Puts a timer into a free entry, or into a new one at the end of the slab.
    @inline(__always)
    private mutating func enter(deadline: UInt64, payload: UInt64, next: Int32, previous: Int32) -> Handle {
        lastSequence &+= 1
        count &+= 1
        var timer = TimerNode(
            deadline: deadline, payload: payload, generation: 1, sequence: lastSequence, next: next, previous: previous)
        let node: Int
        if firstFree == Self.endOfFreeList {
            if slab.isFull { grow() }
            node = slab.count
            slab.append(timer)
        } else {
            node = Int(firstFree)
            firstFree = slab[node].next
            timer.generation = slab[node].generation &+ 1
            slab[node] = timer
        }
        return Handle(node: Int32(truncatingIfNeeded: node), generation: timer.generation)
    }

    @inline(never)
    private mutating func grow() {
        precondition(count <= limit, "TimerWheel: \(limit) timers are pending, the limit of this wheel")
        let timers = slab.capacity - SlotIndex.count
        slab.reallocate(capacity: SlotIndex.count + min(2 * timers, limit + retired))
    }
}
