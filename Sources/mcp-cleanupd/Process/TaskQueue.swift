import Dispatch

/// The executor of all tasks of the process that are bound to no actor: one serial Dispatch queue.
///
/// Swift's own pool runs on a global queue, whose threads Dispatch watches on Linux by a timer that fires every second; serial
/// queues are not watched. Nothing here blocks or computes for long, so one thread at a time is enough.
final class TaskQueue: TaskExecutor {
    static let shared = TaskQueue()

    let queue = DispatchQueue(label: "mcp-cleanupd.tasks")

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        queue.async { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}
