import Glibc

/// Times one kind of queue over the workloads of a round.
struct QueueBenchmark<Queue: TimerQueue & ~Copyable> {
    private let workloads: [Workload]

    /// The sum of all results, printed in the end so that no operation can be optimized away.
    private(set) var checksum: UInt64 = 0
    private var total: Nanoseconds = [:]

    init(workloads: [Workload]) { self.workloads = workloads }

    /// One round: the mean of each operation over all timers.
    mutating func run() -> Nanoseconds {
        total = [:]
        for workload in workloads {
            ProcessMemory.makeCold()
            _ = filled(workload, timing: .addCold)
        }
        // The first fill warms the memory and is not counted.
        _ = filled(workloads[0], timing: nil)
        for workload in workloads { measureCancels(workload) }
        for workload in workloads { measureDrain(workload, .drainBySecond, step: 1_000) }
        // 3.6 million steps: with fewer timers the steps would be measured, not the timers.
        for workload in workloads where workload.deadlines.count >= 100_000 {
            measureDrain(workload, .drainByMillisecond, step: 1)
        }
        for workload in workloads { measureDrainByNext(workload) }
        let timers = workloads.reduce(0) { $0 + $1.deadlines.count }
        return total.mapValues { $0 / Double(timers) }
    }

    /// How often an owner that sleeps until `next` wakes to drain the workload.
    static func wakeUps(_ workload: Workload) -> Int {
        var queue = Queue(capacity: workload.deadlines.count)
        for deadline in workload.deadlines { _ = queue.add(deadline: deadline, payload: 0) }
        var wakeUps = 0
        while let now = queue.next() {
            wakeUps += 1
            while queue.pop(now: now) != nil {}
        }
        return wakeUps
    }

    /// Bytes allocated for the workload, handles not counted.
    static func allocatedBytes(_ workload: Workload) -> Int {
        let before = ProcessMemory.allocatedBytes
        var queue = Queue(capacity: workload.deadlines.count)
        for deadline in workload.deadlines { _ = queue.add(deadline: deadline, payload: 0) }
        let bytes = ProcessMemory.allocatedBytes - before
        // Keeps the queue alive to here.
        _ = queue.next()
        return bytes
    }

    private struct Filled: ~Copyable {
        var queue: Queue
        var handles: [Queue.Handle]
    }

    private mutating func filled(_ workload: Workload, timing operation: Operation?) -> Filled {
        var queue = Queue(capacity: workload.deadlines.count)
        var handles: [Queue.Handle] = []
        handles.reserveCapacity(workload.deadlines.count)
        let beforehand = processorNanoseconds()
        let elapsed = nanoseconds {
            for index in workload.deadlines.indices {
                let payload = UInt64(truncatingIfNeeded: index)
                handles.append(queue.add(deadline: workload.deadlines[index], payload: payload))
            }
        }
        if operation == .add { total[.addProcessor, default: 0] += processorNanoseconds() - beforehand }
        if let operation { total[operation, default: 0] += elapsed }
        return Filled(queue: queue, handles: handles)
    }

    private mutating func measureCancels(_ workload: Workload) {
        let full = filled(workload, timing: .add)
        var handles = full.handles
        var queue = full.queue
        var sum: UInt64 = 0
        total[.next, default: 0] += nanoseconds {
            for _ in workload.deadlines { sum &+= queue.next() ?? 0 }
        }
        total[.cancelAndReadd, default: 0] += nanoseconds {
            for index in workload.cancelOrder {
                sum &+= queue.cancel(handles[index]) ?? 0
                let payload = UInt64(truncatingIfNeeded: index)
                handles[index] = queue.add(deadline: workload.deadlinesOfReadded[index], payload: payload)
            }
        }
        total[.cancel, default: 0] += nanoseconds {
            for index in workload.cancelOrder { sum &+= queue.cancel(handles[index]) ?? 0 }
        }
        total[.discard, default: 0] += nanoseconds { sum &+= queue.next() ?? 0 }
        checksum &+= sum
    }

    private mutating func measureDrain(_ workload: Workload, _ operation: Operation, step: UInt64) {
        var queue = filled(workload, timing: nil).queue
        var sum: UInt64 = 0
        total[operation, default: 0] += nanoseconds {
            var now: UInt64 = 0
            while now < Workload.hour + step {
                while let payload = queue.pop(now: now) { sum &+= payload }
                now += step
            }
        }
        checksum &+= sum
    }

    private mutating func measureDrainByNext(_ workload: Workload) {
        var queue = filled(workload, timing: nil).queue
        var sum: UInt64 = 0
        total[.drainByNext, default: 0] += nanoseconds {
            while let now = queue.next() {
                while let payload = queue.pop(now: now) { sum &+= payload }
            }
        }
        checksum &+= sum
    }
}

/// What all threads of the process have used so far: clock_gettime(2), to the nanosecond where getrusage(2) counts in
/// microseconds, of which a thousand adds take six.
func processorNanoseconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Double(time.tv_sec) * 1e9 + Double(time.tv_nsec)
}

func nanoseconds(_ body: () -> Void) -> Double {
    let elapsed = ContinuousClock().measure(body).components
    return Double(elapsed.seconds) * 1e9 + Double(elapsed.attoseconds) / 1e9
}
