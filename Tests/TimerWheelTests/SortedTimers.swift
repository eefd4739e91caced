import TimerWheel

/// The model: an array kept sorted by deadline and, for equal deadlines, by the order of adding.
struct SortedTimers {
    struct Timer {
        let deadline: UInt64
        let payload: UInt64
        let handle: TimerWheel.Handle
    }

    private(set) var pending: [Timer] = []

    mutating func add(_ timer: Timer) {
        var low = 0
        var high = pending.count
        while low < high {
            let middle = (low + high) / 2
            if pending[middle].deadline <= timer.deadline { low = middle + 1 } else { high = middle }
        }
        pending.insert(timer, at: low)
    }

    mutating func remove(at index: Int) -> Timer { pending.remove(at: index) }

    mutating func pop(now: UInt64) -> Timer? {
        guard let first = pending.first, first.deadline <= now else { return nil }
        return pending.removeFirst()
    }
}
