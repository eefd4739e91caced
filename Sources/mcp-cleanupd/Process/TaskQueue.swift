import Dispatch

/// Where all tasks of the process run that are bound to no actor: one serial Dispatch queue.
///
/// Swift's own pool runs on a global queue of Dispatch, and on Linux Dispatch watches the threads of those queues by a
/// timer that fires every second for as long as the process lives. An idle daemon would wake 60 times a minute for
/// nothing. Serial queues are not watched. Nothing here blocks or computes for long, so one thread at a time is enough.
final class TaskQueue: TaskExecutor {
    static let shared = TaskQueue()

    let queue = DispatchQueue(label: "mcp-cleanupd.tasks")

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        queue.async { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}
