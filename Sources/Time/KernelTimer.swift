import CTimerfd
package import Dispatch
import Glibc

/// A timer of the kernel's under a Dispatch source: timerfd_create(2).
///
/// Dispatch's own timers stand still while the machine sleeps, and do not tell that the wall clock was set.
package final class KernelTimer: Sendable {
    /// The process has no more descriptors.
    package struct Unavailable: Error, CustomStringConvertible {
        let code: Int32
        package var description: String { "no timer from the system: \(String(cString: strerror(code)))" }
    }

    private let descriptor: Int32
    private let isOfWallClock: Bool
    private let source: DispatchSource

    /// - Parameter isOfWallClock: false for `ContinuousClock`, which is never set and counts while the machine sleeps.
    package init(isOfWallClock: Bool, on queue: DispatchQueue) throws(Unavailable) {
        self.isOfWallClock = isOfWallClock
        let clock = isOfWallClock ? CLOCK_REALTIME : CLOCK_BOOTTIME
        descriptor = timerfd_create(clock, Int32(TFD_NONBLOCK) | Int32(TFD_CLOEXEC))
        guard descriptor >= 0 else { throw Unavailable(code: errno) }
        source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: queue) as! DispatchSource
        // Every source on Linux is a DispatchSource: the protocol alone does not say that it is Sendable.
    }

    deinit { source.cancel() }

    /// Call it once, before any `set`. `onWakeUp` runs on the queue at the time set, and when the wall clock was set.
    package func activate(onWakeUp: @escaping @Sendable (_ wasClockSet: Bool) -> Void) {
        source.setEventHandler { [descriptor] in
            var expirations: UInt64 = 0
            let hasCome = read(descriptor, &expirations, MemoryLayout<UInt64>.size) > 0
            if hasCome || errno == ECANCELED { onWakeUp(!hasCome) }
        }
        // Dispatch must have forgotten the descriptor before it is closed.
        source.setCancelHandler { [descriptor] in close(descriptor) }
        source.activate()
    }

    /// Sets the time of the next wake-up, in place of the one before: since 1970 by the wall clock, from now by the
    /// other one. With nil the timer is off, and does not report that the clock was set. Returns true if the wall clock
    /// was set since the last wake-up; then no wake-up will report it.
    @discardableResult package func set(_ time: Duration?) -> Bool {
        var setting = itimerspec()
        if let time {
            // A time of zero would disarm the timer: timerfd_settime(2).
            let (seconds, attoseconds) = max(time, .nanoseconds(1)).components
            setting.it_value = timespec(tv_sec: Int(seconds), tv_nsec: Int(attoseconds / 1_000_000_000))
        }
        let flags = isOfWallClock ? Int32(TFD_TIMER_ABSTIME) | Int32(TFD_TIMER_CANCEL_ON_SET) : 0
        return timerfd_settime(descriptor, flags, &setting, nil) != 0 && errno == ECANCELED
    }
}
