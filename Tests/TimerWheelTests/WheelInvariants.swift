import BasicContainers

@testable import TimerWheel

/// An invariant that `TimerWheel.checkInvariants` found broken. Entries and slots are named by their index in the slab.
enum BrokenInvariant: Error, Equatable {
    /// The links of a slot's list do not lead back and forth between the same entries.
    case brokenLink(slot: Int, entry: Int)
    /// A slot's bit contradicts its list.
    case wrongBit(slot: Int)
    /// The summary word contradicts the words of the levels.
    case wrongSummary
    /// A timer is in a slot where its deadline does not belong.
    case misplaced(entry: Int, slot: Int)
    /// A free entry has the generation of a pending timer, or the other way round.
    case wrongGeneration(entry: Int)
    /// The lists have more or fewer timers, or free entries, than there should be.
    case wrongCount(timers: Int, free: Int)
    /// A `pop` at the announced instant would return without looking.
    case quietTooLong
    /// The announced instant is not the one that a look at every timer gives.
    case wrongNext
}

extension TimerWheel {
    /// Checks every entry and every bit, without the shortcuts of the operations, in time proportional to the slab.
    ///
    /// The order of equal deadlines is not visible here: `ModelRun` checks it.
    /// - Throws: the first invariant found broken.
    func checkInvariants() throws(BrokenInvariant) {
        for level in 0..<UInt64.bitWidth {
            let hasTimers = level < SlotIndex.levels && occupied.words[level] != 0
            guard (occupied.summary >> level & 1 == 1) == hasTimers else { throw .wrongSummary }
        }
        var timers = 0
        var earliest: UInt64?
        var firstSlot: (slot: Int, timers: Int)?
        for slot in 0..<SlotIndex.count {
            let found = try checkList(of: slot)
            let isMarked = occupied.words[SlotIndex.level(of: slot)] >> (slot % SlotIndex.slotsPerLevel) & 1 == 1
            guard isMarked == (found.timers > 0) else { throw .wrongBit(slot: slot) }
            timers += found.timers
            guard let deadline = found.earliest else { continue }
            if firstSlot == nil { firstSlot = (slot, found.timers) }
            earliest = min(earliest ?? deadline, deadline)
        }
        let free = try countFreeEntries()
        let givenUp = (SlotIndex.count..<slab.count).count { slab[$0].generation == 0 }
        guard timers == count, timers + free + givenUp == slab.count - SlotIndex.count else {
            throw .wrongCount(timers: timers, free: free)
        }
        try checkNext(earliest: earliest, firstSlot: firstSlot)
    }

    private func checkList(of slot: Int) throws(BrokenInvariant) -> (timers: Int, earliest: UInt64?) {
        var timers = 0
        var earliest: UInt64?
        var previous = slot
        var entry = Int(slab[slot].next)
        while entry != slot {
            // A list that never comes back to its head has more timers than there are.
            guard entry >= SlotIndex.count, entry < slab.count, Int(slab[entry].previous) == previous, timers < count
            else { throw .brokenLink(slot: slot, entry: entry) }
            let timer = slab[entry]
            guard timer.generation % 2 == 1 else { throw .wrongGeneration(entry: entry) }
            guard slot == slotByDefinition(of: timer.deadline) else { throw .misplaced(entry: entry, slot: slot) }
            earliest = min(earliest ?? timer.deadline, timer.deadline)
            timers += 1
            previous = entry
            entry = Int(slab[entry].next)
        }
        guard Int(slab[slot].previous) == previous else { throw .brokenLink(slot: slot, entry: slot) }
        return (timers, earliest)
    }

    /// The slot of a deadline by comparing digits from the highest down. A deadline before the cursor has none.
    private func slotByDefinition(of deadline: UInt64) -> Int {
        guard deadline >= cursor else { return -1 }
        for level in stride(from: SlotIndex.levels - 1, through: 0, by: -1) {
            let digit = (deadline >> (level * SlotIndex.bitsPerLevel)) % 64
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
