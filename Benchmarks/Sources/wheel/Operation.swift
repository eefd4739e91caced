/// What is timed, in nanoseconds a timer; `next` in nanoseconds a call.
enum Operation: String, CaseIterable {
    case addCold = "add, memory never touched"
    case add = "add"
    case addAtRest = "add, Dispatch at rest"
    case next = "next"
    case cancel = "cancel, random order"
    case discard = "… and what cancel left behind"
    case cancelAndReadd = "cancel + re-add"
    case drainBySecond = "drain, now in steps of 1 s"
    case drainByMillisecond = "drain, now in steps of 1 ms"
    case drainByNext = "drain, now from next"
}

typealias Nanoseconds = [Operation: Double]
