package import Dispatch
import Synchronization
package import Time

/// The two clocks of the scheduler's loop and the timers that wake it: the host's, or a test's.
package protocol SchedulerClock: Sendable {
    var now: TwoClocks { get }

    /// Called once, before the first `sleep`.
    ///
    /// - Parameter onWakeUp: called from any thread when an instant has come, and when the wall clock was set. Does not
    ///   block.
    func start(onWakeUp: @escaping @Sendable (_ wasClockSet: Bool) -> Void) throws(KernelTimer.Unavailable)

    /// Sets the instants to wake at, in place of those set before: of the wall clock, and in time since the process began.
    /// Returns at once.
    func sleep(untilWall wall: UTCInstant?, elapsed: Duration?)
}

/// The host's clocks: a timer of the kernel's for the wall clock, and `Deadlines` for waits.
package final class HostSchedulerClock: SchedulerClock {
    private struct Timers {
        let wall: KernelTimer
        let onWakeUp: @Sendable (_ wasClockSet: Bool) -> Void
        var wait: Deadlines.Handle?
    }

    private let started = ContinuousClock.now
    private let queue: DispatchQueue
    private let timers = Mutex<Timers?>(nil)

    /// - Parameter queue: a serial one. If the loop's task runs on it, a fire time wakes one thread, which begins the run.
    package init(queue: DispatchQueue) { self.queue = DispatchQueue(label: "mcp-cleanupd.wall-clock", target: queue) }

    package var now: TwoClocks { TwoClocks(wall: .now, elapsed: started.duration(to: .now)) }

    package func start(
        onWakeUp: @escaping @Sendable (_ wasClockSet: Bool) -> Void
    ) throws(KernelTimer.Unavailable) {
        let wall = try KernelTimer(isOfWallClock: true, on: queue)
        wall.activate(onWakeUp: onWakeUp)
        timers.withLock { $0 = Timers(wall: wall, onWakeUp: onWakeUp) }
    }

    package func sleep(untilWall wall: UTCInstant?, elapsed: Duration?) {
        timers.withLock { timers in
            guard let onWakeUp = timers?.onWakeUp, let timer = timers?.wall else {
                preconditionFailure("the clock was not started")
            }
            if let wait = timers?.wait { Deadlines.shared.cancel(wait) }
            timers?.wait = elapsed.map { elapsed in
                Deadlines.shared.add(at: started + elapsed) { onWakeUp(false) }
            }
            // Never off, since it reports steps of the clock. The far end of time_t overflows in the kernel; the year 9999
            // does not.
            let instant = wall ?? .latestNameable
            if timer.set(.microseconds(instant.microsecondsSinceEpoch)) { onWakeUp(true) }
        }
    }
}
