import Dispatch

/// Runs an actor's jobs on a serial Dispatch queue of its own.
///
/// A connection's jobs call libpq, which may take a lock or read a file. They must not block a thread of Swift's
/// cooperative pool, which has one for each core. The standard library has `DispatchSerialQueue` for this on Apple's
/// systems only.
final class QueueExecutor: SerialExecutor {
    let queue: DispatchQueue

    /// - Parameter target: a serial queue whose thread the jobs use, or `nil` for a thread of their own.
    init(label: String, target: DispatchQueue?) {
        queue = DispatchQueue(label: label, target: target)
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        queue.async { job.runSynchronously(on: self.asUnownedSerialExecutor()) }
    }

    func checkIsolated() {
        dispatchPrecondition(condition: .onQueue(queue))
    }
}
