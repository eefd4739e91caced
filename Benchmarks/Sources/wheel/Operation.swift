/// What is timed, in nanoseconds a timer; `next` in nanoseconds a call.
enum Operation: String, CaseIterable {
    case addCold = "add, memory never touched"
    case add = "add"
    case addProcessor = "add, processor time of all threads"
    case addAtRest = "add, Dispatch at rest"
    case next = "next"
    case cancel = "cancel, random order"
    case discard = "… and what cancel left behind"
    case cancelAndReadd = "cancel + re-add"
    case drainBySecond = "drain, now in steps of 1 s"
    case drainByMillisecond = "drain, now in steps of 1 ms"
    case drainByNext = "drain, now from next"
}

extension Operation {
    /// What a queue without a thread of its own, which is always at rest, is measured by.
    var ofQueue: Operation { self == .addAtRest ? .add : self }
}

typealias Nanoseconds = [Operation: Double]
