import BasicContainers

/// What `TimerWheel.checkInvariants` found wrong. Entries and slots are named by their index in the slab.
package enum BrokenInvariant: Error, Equatable {
    /// The links of a slot's list do not lead back and forth between the same entries.
    case brokenLink(slot: Int, entry: Int)
    /// A slot's bit says something else than its list.
    case wrongBit(slot: Int)
    /// The summary word says something else than the words of the levels.
    case wrongSummary
    /// A timer is in a slot where its deadline does not belong.
    case misplaced(entry: Int, slot: Int)
    /// A timer comes before one of the same slot that should leave first.
    case outOfOrder(entry: Int, slot: Int)
    /// A free entry has the generation of a pending timer, or the other way round.
    case wrongGeneration(entry: Int)
    /// The timers, and the free entries, found in the lists are not as many as there should be.
    case wrongCount(timers: Int, free: Int)
    /// A `pop` at the announced instant would return without looking.
    case quietTooLong
    /// The announced instant is not what a look at every timer says.
    case wrongNext
    /// The slab is larger than the limit allows.
    case aboveLimit
}

extension TimerWheel {
    /// Looks at every entry and every bit, without the shortcuts of the operations; for tests.
    ///
    /// Takes time proportional to the slab.
    /// - Throws: the first invariant found broken.
    package func checkInvariants() throws(BrokenInvariant) {
        guard slab.capacity <= SlotIndex.count + limit + retired else { throw .aboveLimit }
        guard occupied.summaryAgrees else { throw .wrongSummary }
        var timers = 0
        var earliest: UInt64?
        var firstSlot: (slot: Int, timers: Int)?
        for slot in 0..<SlotIndex.count {
            let found = try checkList(of: slot)
            guard occupied.contains(slot) == (found.timers > 0) else { throw .wrongBit(slot: slot) }
            timers += found.timers
            guard let deadline = found.earliest else { continue }
            if firstSlot == nil { firstSlot = (slot, found.timers) }
            earliest = min(earliest ?? deadline, deadline)
        }
        let free = try countFreeEntries()
        guard timers == count, timers + free + retired == slab.count - SlotIndex.count else {
            throw .wrongCount(timers: timers, free: free)
        }
        try checkNext(earliest: earliest, firstSlot: firstSlot)
    }

    private func checkList(of slot: Int) throws(BrokenInvariant) -> (timers: Int, earliest: UInt64?) {
        var timers = 0
        var earliest: UInt64?
        var lastOfDeadline: [UInt64: UInt32] = [:]
        var previous = slot
        var entry = Int(slab[slot].next)
        while entry != slot {
            // A list that never comes back to its head has more timers than there are.
            guard entry >= SlotIndex.count, entry < slab.count, Int(slab[entry].previous) == previous, timers < count
            else { throw .brokenLink(slot: slot, entry: entry) }
            let timer = slab[entry]
            guard timer.generation % 2 == 1 else { throw .wrongGeneration(entry: entry) }
            guard slot == slotByDefinition(of: timer.deadline) else { throw .misplaced(entry: entry, slot: slot) }
            let isLevelZero = slot < SlotIndex.slotsPerLevel
            if isLevelZero, previous != slot, slab[previous].deadline > timer.deadline {
                throw .outOfOrder(entry: previous, slot: slot)
            }
            // The later one is less far behind the last of all.
            if let before = lastOfDeadline[timer.deadline], lastSequence &- before <= lastSequence &- timer.sequence {
                throw .outOfOrder(entry: entry, slot: slot)
            }
            lastOfDeadline[timer.deadline] = timer.sequence
            earliest = min(earliest ?? timer.deadline, timer.deadline)
            timers += 1
            previous = entry
            entry = Int(slab[entry].next)
        }
        guard Int(slab[slot].previous) == previous else { throw .brokenLink(slot: slot, entry: slot) }
        return (timers, earliest)
    }

    /// The slot of a deadline by comparing digits from the highest down; an overdue one waits at the cursor.
    private func slotByDefinition(of deadline: UInt64) -> Int {
        let instant = max(deadline, cursor)
        for level in stride(from: SlotIndex.levels - 1, through: 0, by: -1) {
            let digit = (instant >> (level * SlotIndex.bitsPerLevel)) % 64
            if level == 0 || digit != (cursor >> (level * SlotIndex.bitsPerLevel)) % 64 {
                return level * SlotIndex.slotsPerLevel + Int(digit)
            }
        }
        return 0
    }

    private func countFreeEntries() throws(BrokenInvariant) -> Int {
        var free = 0
        var entry = Int(firstFree)
        while entry != Int(Self.endOfFreeList) {
            guard entry >= SlotIndex.count, entry < slab.count, free < slab.count else {
                throw .wrongCount(timers: count, free: free)
            }
            guard slab[entry].generation % 2 == 0 else { throw .wrongGeneration(entry: entry) }
            free += 1
            entry = Int(slab[entry].next)
        }
        return free
    }

    private func checkNext(earliest: UInt64?, firstSlot: (slot: Int, timers: Int)?) throws(BrokenInvariant) {
        guard let earliest, let firstSlot else {
            guard next == nil else { throw .wrongNext }
            return
        }
        let isExact = firstSlot.slot < SlotIndex.slotsPerLevel || firstSlot.timers <= Self.scanLimit
        guard let next, next == earliest || (!isExact && next < earliest) else { throw .wrongNext }
        guard quietBefore <= next else { throw .quietTooLong }
    }
}
