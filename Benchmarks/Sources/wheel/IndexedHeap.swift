/// A binary heap whose timers know their position in it, so that cancel removes at once: the usual alternative to a
/// wheel (libuv, and most runtimes, have one or its four-way cousin).
struct IndexedHeap: TimerQueue, ~Copyable {

    struct Handle {
        let place: UInt32
        let serial: UInt32
    }

    private struct Entry {
        let deadline: UInt64
        let serial: UInt32
        let place: UInt32

        func precedes(_ other: Entry) -> Bool {
            deadline < other.deadline || (deadline == other.deadline && serial < other.serial)
        }
    }

    private struct Place {
        var payload: UInt64
        var serial: UInt32
        var position: UInt32
    }

    private var entries: [Entry] = []
    private var places: [Place] = []
    private var free: [UInt32] = []
    private var lastSerial: UInt32 = 0

    init(capacity: Int) {
        entries.reserveCapacity(capacity)
        places.reserveCapacity(capacity)
        free.reserveCapacity(capacity)
    }

    mutating func add(deadline: UInt64, payload: UInt64) -> Handle {
        lastSerial &+= 1
        let fresh = Place(payload: payload, serial: lastSerial, position: 0)
        let place: UInt32
        if let reused = free.popLast() {
            place = reused
            places[Int(place)] = fresh
        } else {
            place = UInt32(places.count)
            places.append(fresh)
        }
        let entry = Entry(deadline: deadline, serial: lastSerial, place: place)
        entries.append(entry)
        siftUp(entry, from: entries.count - 1)
        return Handle(place: place, serial: lastSerial)
    }

    mutating func cancel(_ handle: Handle) -> UInt64? {
        guard places[Int(handle.place)].serial == handle.serial else { return nil }
        return remove(at: Int(places[Int(handle.place)].position))
    }

    mutating func next() -> UInt64? { entries.first?.deadline }

    mutating func pop(now: UInt64) -> UInt64? {
        guard let first = entries.first, first.deadline <= now else { return nil }
        return remove(at: 0)
    }

    private mutating func remove(at position: Int) -> UInt64 {
        let removed = entries[position]
        let last = entries.removeLast()
        if position < entries.count {
            if position > 0, last.precedes(entries[(position - 1) / 2]) {
                siftUp(last, from: position)
            } else {
                siftDown(last, from: position)
            }
        }
        places[Int(removed.place)].serial = 0
        free.append(removed.place)
        return places[Int(removed.place)].payload
    }

    private mutating func siftUp(_ entry: Entry, from start: Int) {
        var position = start
        while position > 0 {
            let parent = (position - 1) / 2
            guard entry.precedes(entries[parent]) else { break }
            settle(entries[parent], at: position)
            position = parent
        }
        settle(entry, at: position)
    }

    private mutating func siftDown(_ entry: Entry, from start: Int) {
        var position = start
        while true {
            var child = 2 * position + 1
            guard child < entries.count else { break }
            if child + 1 < entries.count, entries[child + 1].precedes(entries[child]) { child += 1 }
            guard entries[child].precedes(entry) else { break }
            settle(entries[child], at: position)
            position = child
        }
        settle(entry, at: position)
    }

    private mutating func settle(_ entry: Entry, at position: Int) {
        entries[position] = entry
        places[Int(entry.place)].position = UInt32(position)
    }
}
