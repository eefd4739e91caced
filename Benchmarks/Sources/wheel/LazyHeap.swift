import HeapModule

/// `Heap` of swift-collections, which cannot remove an entry from its middle: a canceled timer is marked dead in a
/// table and discarded when it comes to the top.
struct LazyHeap: TimerQueue, ~Copyable {

    struct Handle {
        let place: UInt32
        let serial: UInt32
    }

    /// 16 bytes, the least that keeps equal deadlines first in, first out.
    private struct Entry: Comparable {
        let deadline: UInt64
        let serial: UInt32
        let place: UInt32

        static func < (left: Entry, right: Entry) -> Bool {
            left.deadline < right.deadline || (left.deadline == right.deadline && left.serial < right.serial)
        }
    }

    private struct Place {
        var payload: UInt64
        var serial: UInt32
    }

    private var heap = Heap<Entry>()
    private var places: [Place] = []
    private var free: [UInt32] = []
    private var lastSerial: UInt32 = 0

    init(capacity: Int) {
        heap.reserveCapacity(capacity)
        places.reserveCapacity(capacity)
        free.reserveCapacity(capacity)
    }

    mutating func add(deadline: UInt64, payload: UInt64) -> Handle {
        lastSerial &+= 1
        let place: UInt32
        if let reused = free.popLast() {
            place = reused
            places[Int(place)] = Place(payload: payload, serial: lastSerial)
        } else {
            place = UInt32(places.count)
            places.append(Place(payload: payload, serial: lastSerial))
        }
        heap.insert(Entry(deadline: deadline, serial: lastSerial, place: place))
        return Handle(place: place, serial: lastSerial)
    }

    mutating func cancel(_ handle: Handle) -> UInt64? {
        guard places[Int(handle.place)].serial == handle.serial else { return nil }
        return release(handle.place)
    }

    mutating func next() -> UInt64? {
        discardDead()
        return heap.min?.deadline
    }

    mutating func pop(now: UInt64) -> UInt64? {
        discardDead()
        guard let first = heap.min, first.deadline <= now else { return nil }
        heap.removeMin()
        return release(first.place)
    }

    private mutating func discardDead() {
        while let first = heap.min, places[Int(first.place)].serial != first.serial { heap.removeMin() }
    }

    private mutating func release(_ place: UInt32) -> UInt64 {
        places[Int(place)].serial = 0
        free.append(place)
        return places[Int(place)].payload
    }
}
