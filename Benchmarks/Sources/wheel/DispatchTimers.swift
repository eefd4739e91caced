import Dispatch

/// One `DispatchSourceTimer` for each timer, which is what a wheel saves.
///
/// Dispatch arms and disarms its timers on a thread of its own, one after the other, and the caller does not wait for
/// it. So that the whole cost is seen, and nothing of it runs into the next measurement, this does.
struct DispatchTimers {
    /// Two hundred workloads of a thousand would take longer than all else together.
    private static let mostWorkloads = 20

    /// Each is waited for.
    private static let timersAtRest = 1_000

    private let workloads: [Workload]
    private let queue = DispatchQueue(label: "dispatch-timers")

    init(workloads: [Workload]) { self.workloads = Array(workloads.prefix(Self.mostWorkloads)) }

    /// Nanoseconds a timer to create and arm, and to cancel and release.
    func run() -> Nanoseconds {
        // First, and long after what an earlier round canceled: disposing of many timers is not rest.
        let atRest = addAtRest()
        var total: Nanoseconds = [:]
        for workload in workloads {
            var timers: [any DispatchSourceTimer] = []
            timers.reserveCapacity(workload.deadlines.count)
            let beforehand = processorNanoseconds()
            total[.add, default: 0] += nanoseconds {
                for deadline in workload.deadlines { timers.append(armedTimer(deadline)) }
                waitForDispatch()
            }
            total[.addProcessor, default: 0] += processorNanoseconds() - beforehand
            total[.cancel, default: 0] += nanoseconds {
                for index in workload.cancelOrder { timers[index].cancel() }
                timers = []
                waitForDispatch()
            }
        }
        let timers = workloads.reduce(0) { $0 + $1.deadlines.count }
        total = total.mapValues { $0 / Double(timers) }
        return total.merging(atRest) { $1 }
    }

    /// One timer after the other, when Dispatch has nothing else to do: what a daemon pays, which adds a timer now and
    /// then. Dispatch's thread sleeps and has to be woken; many timers in a row are cheaper, since one wake-up may serve
    /// several. The time is the caller's, until the timer is handed over.
    private func addAtRest() -> Nanoseconds {
        var timers: [any DispatchSourceTimer] = []
        let deadlines = workloads[0].deadlines.prefix(Self.timersAtRest)
        waitForDispatch()
        var elapsed = 0.0
        for deadline in deadlines {
            elapsed += nanoseconds { timers.append(armedTimer(deadline)) }
            waitForDispatch()
        }
        for timer in timers { timer.cancel() }
        waitForDispatch()
        return [.addAtRest: elapsed / Double(timers.count)]
    }

    /// Bytes allocated for the first workload.
    func allocatedBytes() -> Int {
        let workload = workloads[0]
        var timers: [any DispatchSourceTimer] = []
        timers.reserveCapacity(workload.deadlines.count)
        waitForDispatch()
        let before = ProcessMemory.allocatedBytes
        for deadline in workload.deadlines { timers.append(armedTimer(deadline)) }
        waitForDispatch()
        let bytes = ProcessMemory.allocatedBytes - before
        for timer in timers { timer.cancel() }
        return bytes
    }

    /// An hour later than the workload says, so that none fires while others are measured.
    private func armedTimer(_ deadline: UInt64) -> any DispatchSourceTimer {
        let timer = DispatchSource.makeTimerSource(queue: queue)
        timer.schedule(deadline: .now() + .milliseconds(Int(Workload.hour + deadline)))
        timer.setEventHandler {}
        timer.activate()
        return timer
    }

    /// Returns when a timer added last has fired: Dispatch has then done all it was told before.
    private func waitForDispatch() {
        let fired = DispatchSemaphore(value: 0)
        let timer = DispatchSource.makeTimerSource(queue: queue)
        timer.schedule(deadline: .now())
        timer.setEventHandler { fired.signal() }
        timer.activate()
        fired.wait()
        timer.cancel()
    }
}
