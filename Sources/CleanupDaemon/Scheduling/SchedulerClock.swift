package import Dispatch
import Synchronization
package import Time

/// The two clocks of the scheduler's loop and the timers that wake it: the host's, or a test's.
package protocol SchedulerClock: Sendable {
    /// Both readings, taken together.
    var now: TwoClocks { get }

    /// Begins to report. Called once, before the first `sleep`.
    ///
    /// - Parameter onWakeUp: called from any thread when an instant has come, and when the wall clock was set; with
    ///   true in the second case. Does not block.
    /// - Throws: when the system has no timer.
    func start(onWakeUp: @escaping @Sendable (_ wasClockSet: Bool) -> Void) throws(TimerUnavailable)

    /// Sets the instants to wake at, in place of those set before. Returns at once.
    func sleep(until wakeUp: WakeUp)
}

/// The instants at which the scheduler's loop has work to do; an event may come before.
package struct WakeUp: Hashable, Sendable {
    /// Of the wall clock: the next fire time.
    let wall: UTCInstant?
    /// In time since the process began: the end of the next wait.
    let elapsed: Duration?
    /// True if a sleep of the machine may delay `elapsed` by as long as it lasts.
    let mayBeLate: Bool

    static let never = WakeUp(wall: nil, elapsed: nil, mayBeLate: true)
}

/// The host's clocks: a realtime timerfd for the wall clock, and `Deadlines` for waits.
package final class HostSchedulerClock: SchedulerClock {
    private struct Timers {
        let wall: WallClockTimer
        let onWakeUp: @Sendable (Bool) -> Void
        var wait: Deadlines.Handle?
    }

    private let started = ContinuousClock.now
    private let queue: DispatchQueue?
    private let timers = Mutex<Timers?>(nil)

    /// - Parameter queue: the serial queue that the loop's task runs on, if it does: a fire time then wakes one thread,
    ///   which begins the run. Without it, the timer has a thread of its own.
    package init(queue: DispatchQueue? = nil) { self.queue = queue }

    package var now: TwoClocks { TwoClocks(wall: .now, elapsed: started.duration(to: .now)) }

    package func start(onWakeUp: @escaping @Sendable (_ wasClockSet: Bool) -> Void) throws(TimerUnavailable) {
        let wall = try WallClockTimer(target: queue, onWakeUp: onWakeUp)
        timers.withLock { $0 = Timers(wall: wall, onWakeUp: onWakeUp) }
    }

    package func sleep(until wakeUp: WakeUp) {
        timers.withLock { timers in
            guard let onWakeUp = timers?.onWakeUp else { preconditionFailure("the clock was not started") }
            timers?.wall.arm(at: wakeUp.wall)
            if let wait = timers?.wait { Deadlines.shared.cancel(wait) }
            timers?.wait = wakeUp.elapsed.map { elapsed in
                Deadlines.shared.add(at: started + elapsed, mayBeLate: wakeUp.mayBeLate) { onWakeUp(false) }
            }
        }
    }
}
