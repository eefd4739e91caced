import CTimerfd
import Dispatch
import Glibc
import Time

/// Wakes at an instant of the wall clock, and when that clock is set or the machine resumes from sleep.
///
/// Dispatch's own wall-clock timers do not tell about steps; a timerfd with `TFD_TIMER_CANCEL_ON_SET` under a read
/// source does: timerfd_create(2).
final class WallClockTimer: @unchecked Sendable {
    // The descriptor is constant, and is set, read and closed on the queue only.
    private let descriptor: Int32
    private let queue: DispatchQueue
    private let source: any DispatchSourceRead
    private let onWakeUp: @Sendable (_ wasClockSet: Bool) -> Void

    /// - Parameters:
    ///   - target: a serial queue whose thread the timer uses; without it, the timer has a thread of its own.
    ///   - onWakeUp: called on a queue of the timer's own; must not block.
    init(
        target: DispatchQueue?, onWakeUp: @escaping @Sendable (_ wasClockSet: Bool) -> Void
    ) throws(TimerUnavailable) {
        queue = DispatchQueue(label: "mcp-cleanupd.wall-clock", target: target)
        descriptor = timerfd_create(CLOCK_REALTIME, Int32(TFD_NONBLOCK) | Int32(TFD_CLOEXEC))
        guard descriptor >= 0 else { throw TimerUnavailable(code: errno) }
        self.onWakeUp = onWakeUp
        source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: queue)
        source.setEventHandler { [descriptor] in
            var expirations: UInt64 = 0
            let hasCome = read(descriptor, &expirations, MemoryLayout<UInt64>.size) > 0
            if hasCome || errno == ECANCELED { onWakeUp(!hasCome) }
        }
        // Dispatch must have forgotten the descriptor before it is closed.
        source.setCancelHandler { [descriptor] in close(descriptor) }
        source.activate()
    }

    deinit { source.cancel() }

    /// Sets the instant to wake at; nil for none. A step of the clock is reported in both cases.
    func arm(at instant: UTCInstant?) {
        queue.async { [self] () -> Void in
            var setting = itimerspec()
            // A time of zero would disarm the timer: timerfd_settime(2). The far end of time_t overflows in the kernel;
            // the year 9999 does not.
            let microseconds = max(1, (instant ?? .latestNameable).microsecondsSinceEpoch)
            setting.it_value.tv_sec = Int(microseconds / 1_000_000)
            setting.it_value.tv_nsec = Int(microseconds % 1_000_000) * 1000
            let flags = Int32(TFD_TIMER_ABSTIME) | Int32(TFD_TIMER_CANCEL_ON_SET)
            guard timerfd_settime(descriptor, flags, &setting, nil) != 0 else { return }
            // The clock was set since the last read: the timer is armed, and no read will tell.
            if errno == ECANCELED { onWakeUp(true) }
        }
    }
}

/// The system has no timer for the process: it has no more descriptors.
package struct TimerUnavailable: Error, CustomStringConvertible {
    let code: Int32
    package var description: String { "no timer from the system: \(String(cString: strerror(code)))" }
}
