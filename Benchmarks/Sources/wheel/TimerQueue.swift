import TimerWheel

/// What the wheel and its peers are asked to do: the same promise, exact order included, for all of them.
protocol TimerQueue: ~Copyable {
    associatedtype Handle
    /// An empty queue with memory for as many timers.
    init(capacity: Int)
    mutating func add(deadline: UInt64, payload: UInt64) -> Handle
    /// The payload of the canceled timer, or nil if it is no longer pending.
    mutating func cancel(_ handle: Handle) -> UInt64?
    /// The instant to wake up at; mutating, because a heap with lazy cancel discards its dead here.
    mutating func next() -> UInt64?
    /// The payload of the first timer due at `now`, by deadline and then by the order of adding.
    mutating func pop(now: UInt64) -> UInt64?
}

struct WheelQueue: TimerQueue, ~Copyable {
    private var wheel: TimerWheel

    init(capacity: Int) { wheel = TimerWheel(minimumCapacity: capacity) }

    mutating func add(deadline: UInt64, payload: UInt64) -> TimerWheel.Handle {
        wheel.add(deadline: deadline, payload: payload)
    }

    mutating func cancel(_ handle: TimerWheel.Handle) -> UInt64? { wheel.cancel(handle) }
    mutating func next() -> UInt64? { wheel.next }
    mutating func pop(now: UInt64) -> UInt64? { wheel.pop(now: now)?.payload }
}
