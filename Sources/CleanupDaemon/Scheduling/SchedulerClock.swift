import CTimerfd
package import Dispatch
import Glibc
import Synchronization
package import Time

/// The two clocks of the scheduler's loop and the timers that wake it: the host's, or a test's.
package protocol SchedulerClock: Sendable {
    var now: TwoClocks { get }

    /// Called once, before the first `sleep`.
    ///
    /// - Parameter onWakeUp: called from any thread when an instant has come, and when the wall clock was set. Does not
    ///   block.
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
///
/// Dispatch's own wall-clock timers do not tell that the clock was set or that the machine slept; a timerfd with
/// `TFD_TIMER_CANCEL_ON_SET` under a read source does: timerfd_create(2).
package final class HostSchedulerClock: SchedulerClock {
    private struct Timers {
        let descriptor: Int32
        let source: any DispatchSourceRead
        let onWakeUp: @Sendable (_ wasClockSet: Bool) -> Void
        var wait: Deadlines.Handle?
    }

    private let started = ContinuousClock.now
    private let queue: DispatchQueue
    private let timers = Mutex<Timers?>(nil)

    /// - Parameter queue: the serial queue that the loop's task runs on, if it does: a fire time then wakes one thread,
    ///   which begins the run. Without it, the timer has a thread of its own.
    package init(queue: DispatchQueue? = nil) {
        self.queue = DispatchQueue(label: "mcp-cleanupd.wall-clock", target: queue)
    }

    deinit { timers.withLock { $0?.source.cancel() } }

    package var now: TwoClocks { TwoClocks(wall: .now, elapsed: started.duration(to: .now)) }

    package func start(onWakeUp: @escaping @Sendable (_ wasClockSet: Bool) -> Void) throws(TimerUnavailable) {
        let descriptor = timerfd_create(CLOCK_REALTIME, Int32(TFD_NONBLOCK) | Int32(TFD_CLOEXEC))
        guard descriptor >= 0 else { throw TimerUnavailable(code: errno) }
        timers.withLock { timers in
            let source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: queue)
            source.setEventHandler {
                var expirations: UInt64 = 0
                let hasCome = read(descriptor, &expirations, MemoryLayout<UInt64>.size) > 0
                if hasCome || errno == ECANCELED { onWakeUp(!hasCome) }
            }
            // Dispatch must have forgotten the descriptor before it is closed.
            source.setCancelHandler { close(descriptor) }
            source.activate()
            timers = Timers(descriptor: descriptor, source: source, onWakeUp: onWakeUp)
        }
    }

    package func sleep(until wakeUp: WakeUp) {
        timers.withLock { timers in
            guard let onWakeUp = timers?.onWakeUp, let descriptor = timers?.descriptor else {
                preconditionFailure("the clock was not started")
            }
            if let wait = timers?.wait { Deadlines.shared.cancel(wait) }
            timers?.wait = wakeUp.elapsed.map { elapsed in
                Deadlines.shared.add(at: started + elapsed, mayBeLate: wakeUp.mayBeLate) { onWakeUp(false) }
            }
            var setting = itimerspec()
            // A time of zero would disarm the timer, which then tells no step of the clock: timerfd_settime(2). The far end
            // of time_t overflows in the kernel; the year 9999 does not.
            let microseconds = max(1, (wakeUp.wall ?? .latestNameable).microsecondsSinceEpoch)
            setting.it_value.tv_sec = Int(microseconds / 1_000_000)
            setting.it_value.tv_nsec = Int(microseconds % 1_000_000) * 1000
            let flags = Int32(TFD_TIMER_ABSTIME) | Int32(TFD_TIMER_CANCEL_ON_SET)
            // The clock was set since the last read: the timer is armed, and no read will tell.
            if timerfd_settime(descriptor, flags, &setting, nil) != 0, errno == ECANCELED { onWakeUp(true) }
        }
    }
}

/// The system has no timer for the process: it has no more descriptors.
package struct TimerUnavailable: Error, CustomStringConvertible {
    let code: Int32
    package var description: String { "no timer from the system: \(String(cString: strerror(code)))" }
}
