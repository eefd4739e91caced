/// The wheel and its peers over one workload, in turns so that a disturbance meets all of them.
struct Comparison {
    static let rounds = 5
    /// A timer source each is measured no further: a million take a gigabyte and minutes.
    static let mostDispatchTimers = 100_000

    let count: Int
    private(set) var checksum: UInt64 = 0
    private let workloads: [Workload]
    private let wheelBytes: Int
    private let heapBytes: Int
    private let indexedHeapBytes: Int
    private var wheel: [Nanoseconds] = []
    private var heap: [Nanoseconds] = []
    private var indexedHeap: [Nanoseconds] = []
    private var dispatch: [Nanoseconds] = []

    /// Make all comparisons before the first one runs: Dispatch frees memory on its own threads, also after a
    /// measurement, and bytes are counted here.
    init(count: Int) {
        self.count = count
        workloads = Workload.ofARound(count: count)
        wheelBytes = QueueBenchmark<WheelQueue>.allocatedBytes(workloads[0])
        heapBytes = QueueBenchmark<LazyHeap>.allocatedBytes(workloads[0])
        indexedHeapBytes = QueueBenchmark<IndexedHeap>.allocatedBytes(workloads[0])
    }

    mutating func run() {
        var wheelBenchmark = QueueBenchmark<WheelQueue>(workloads: workloads)
        var heapBenchmark = QueueBenchmark<LazyHeap>(workloads: workloads)
        var indexedHeapBenchmark = QueueBenchmark<IndexedHeap>(workloads: workloads)
        for _ in 0..<Self.rounds {
            wheel.append(wheelBenchmark.run())
            heap.append(heapBenchmark.run())
            indexedHeap.append(indexedHeapBenchmark.run())
            if count <= Self.mostDispatchTimers { dispatch.append(DispatchTimers(workloads: workloads).run()) }
        }
        checksum = wheelBenchmark.checksum &+ heapBenchmark.checksum &+ indexedHeapBenchmark.checksum
    }

    static let timeHeader = """
        | timers | operation | wheel | `Heap` | indexed heap | Dispatch timer | wheel / `Heap` | wheel / indexed heap \
        | Dispatch timer / wheel |
        |---:|---|---:|---:|---:|---:|---:|---:|---:|
        """

    func timeRows() -> [String] {
        Operation.allCases.compactMap { operation in
            let dispatch = median(operation, of: dispatch)
            let ofQueue = operation.ofQueue
            if operation != ofQueue, dispatch == nil { return nil }
            guard let wheel = median(ofQueue, of: wheel) else { return nil }
            let heap = median(ofQueue, of: heap)
            let indexedHeap = median(ofQueue, of: indexedHeap)
            let isDiscard = operation == .discard
            let cells = [
                "\(count)", operation.rawValue,
                decimal(wheel, digits: 1), decimal(heap, digits: 1), decimal(indexedHeap, digits: 1),
                decimal(dispatch, digits: 0),
                decimal(isDiscard ? nil : heap.map { wheel / $0 }, digits: 2),
                decimal(isDiscard ? nil : indexedHeap.map { wheel / $0 }, digits: 2),
                decimal(dispatch.map { $0 / wheel }, digits: 0),
            ]
            return "| " + cells.joined(separator: " | ") + " |"
        }
    }

    static let countHeader = """
        | timers | wake-ups a timer, wheel | least possible | bytes a timer, wheel | `Heap` | indexed heap \
        | Dispatch timer |
        |---:|---:|---:|---:|---:|---:|---:|
        """

    func countRow() -> String {
        let workload = workloads[0]
        var dispatchBytes: Int?
        if count <= Self.mostDispatchTimers { dispatchBytes = DispatchTimers(workloads: workloads).allocatedBytes() }
        let cells = [
            "\(count)",
            decimal(perTimer(QueueBenchmark<WheelQueue>.wakeUps(workload)), digits: 4),
            decimal(perTimer(workload.distinctDeadlines), digits: 4),
            decimal(perTimer(wheelBytes), digits: 1),
            decimal(perTimer(heapBytes), digits: 1),
            decimal(perTimer(indexedHeapBytes), digits: 1),
            decimal(dispatchBytes.map(perTimer), digits: 0),
        ]
        return "| " + cells.joined(separator: " | ") + " |"
    }

    private func perTimer(_ total: Int) -> Double { Double(total) / Double(count) }

    private func median(_ operation: Operation, of rounds: [Nanoseconds]) -> Double? {
        let sorted = rounds.compactMap { $0[operation] }.sorted()
        return sorted.isEmpty ? nil : sorted[sorted.count / 2]
    }

    /// A number with a fixed count of decimals, without Foundation; a dash for what was not measured.
    private func decimal(_ value: Double?, digits: Int) -> String {
        guard let value else { return "–" }
        let scale = (0..<digits).reduce(1) { scale, _ in scale * 10 }
        let scaled = Int(max(0, value) * Double(scale) + 0.5)
        guard digits > 0 else { return "\(scaled)" }
        let fraction = String(scaled % scale)
        return "\(scaled / scale)." + String(repeating: "0", count: digits - fraction.count) + fraction
    }
}
