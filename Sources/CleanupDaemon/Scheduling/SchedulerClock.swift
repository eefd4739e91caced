package import Dispatch
import Synchronization
package import Time

/// The two clocks of the scheduler's loop and the timers that wake it: the host's, or a test's.
package protocol SchedulerClock: Sendable {
    var now: TwoClocks { get }

    /// Sets the instants to wake at, one of the wall clock and one in time since the process began, which replace those
    /// set before; nil for none. Returns at once.
    ///
    /// - Parameter onWakeUp: called from any thread when an instant has come, and when the wall clock was set. Does not
    ///   block.
    func sleep(
        untilWall wall: UTCInstant?, elapsed: Duration?, onWakeUp: @escaping @Sendable (_ wasClockSet: Bool) -> Void)
}

/// The host's clocks: a timer of the kernel's for the wall clock, and `Deadlines` for waits.
package final class HostSchedulerClock: SchedulerClock {
    private let started = ContinuousClock.now
    private let timer: KernelTimer
    private let sleep = Mutex<(onWakeUp: @Sendable (Bool) -> Void, wait: Deadlines.Handle?)>(({ _ in }, nil))

    /// - Parameter queue: a serial one. If the loop's task runs on it, a fire time wakes one thread, which begins the run.
    package init(queue: DispatchQueue) throws(KernelTimer.Unavailable) {
        let queue = DispatchQueue(label: "mcp-cleanupd.wall-clock", target: queue)
        timer = try KernelTimer(isOfWallClock: true, on: queue)
        timer.activate { [weak self] wasSet in self?.sleep.withLock(\.onWakeUp)(wasSet) }
    }

    package var now: TwoClocks { TwoClocks(wall: .now, elapsed: started.duration(to: .now)) }

    package func sleep(
        untilWall wall: UTCInstant?, elapsed: Duration?, onWakeUp: @escaping @Sendable (_ wasClockSet: Bool) -> Void
    ) {
        sleep.withLock { sleep in
            if let wait = sleep.wait { Deadlines.shared.cancel(wait) }
            sleep.wait = elapsed.map { Deadlines.shared.add(at: started + $0) { onWakeUp(false) } }
            sleep.onWakeUp = onWakeUp
        }
        // The timer is never off, since it also reports steps of the clock. The latest time_t overflows in the kernel;
        // the year 9999 does not.
        let instant = wall ?? .latestNameable
        if timer.set(.microseconds(instant.microsecondsSinceEpoch)) { onWakeUp(true) }
    }
}
