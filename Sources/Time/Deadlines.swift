import Dispatch
import Synchronization
import TimerWheel

/// All waits of the process that end at an instant: time limits, retries. One wheel under one Dispatch timer.
///
/// `ContinuousClock` is never set, and counts while the machine sleeps; Dispatch's timer does not, so that what came
/// due then is up to `longestWait` late. Nothing is early. While nothing is awaited, nothing wakes up.
package final class Deadlines: Sendable {
    /// The process's own; a Dispatch timer for each wait would cost hundreds of times as much.
    package static let shared = Deadlines()

    /// Names a wait until it ends or is canceled.
    package struct Handle: Sendable {
        let timer: TimerWheel.Handle
    }

    private typealias Handler = (mayBeLate: Bool, call: @Sendable () -> Void)

    private struct State: ~Copyable {
        /// In nanoseconds since `origin`; the payload is the key of what to call.
        var wheel = TimerWheel()
        var handlers: [UInt64: Handler] = [:]
        var lastKey: UInt64 = 0
        /// The instant that Dispatch's timer is set to; nil when it is off.
        var armed: UInt64?
    }

    private let state = Mutex(State())
    private let origin = ContinuousClock.now
    private let timer: any DispatchSourceTimer & Sendable

    /// The longest time between two looks at the clock, so that a wait that ended during a sleep of the machine is
    /// noticed: short against the deadline of a run, and two wake-ups a minute cost nothing while a wait is pending.
    private static let longestWait = Duration.seconds(30)

    package init() {
        let queue = DispatchQueue(label: "mcp-cleanupd.deadlines")
        timer = DispatchSource.makeTimerSource(queue: queue) as! DispatchSource
        // Every source on Linux is one: the protocol alone does not say that it is Sendable.
        timer.setEventHandler { [weak self] in self?.timeCame() }
        timer.schedule(deadline: .distantFuture)
        timer.activate()
    }

    deinit { timer.cancel() }

    /// Calls the handler once, at the instant or as soon as it can, unless it is canceled before.
    /// - Parameters:
    ///   - mayBeLate: true if a sleep of the machine may delay the call; needs no wake-up in between.
    ///   - handler: runs on a serial queue, in the order of the instants; must not block. It may add and cancel.
    package func add(
        at instant: ContinuousClock.Instant, mayBeLate: Bool = false, _ handler: @escaping @Sendable () -> Void
    ) -> Handle {
        state.withLock { state in
            state.lastKey += 1
            state.handlers[state.lastKey] = (mayBeLate, handler)
            let timer = state.wheel.add(deadline: nanoseconds(instant), payload: state.lastKey)
            arm(&state)
            return Handle(timer: timer)
        }
    }

    /// Ends a wait without a call. Does not wait for a handler that is running already.
    package func cancel(_ handle: Handle) {
        // Returned, so that the handler is released outside of the lock.
        _ = state.withLock { state in
            let key = state.wheel.cancel(handle.timer)
            if state.wheel.isEmpty { arm(&state) }
            return key.flatMap { state.handlers.removeValue(forKey: $0) }
        }
    }

    private func timeCame() {
        let due = state.withLock { state in
            var due: [Handler] = []
            let now = nanoseconds(.now)
            // Ends because nothing is added under the lock.
            while let timer = state.wheel.pop(now: now) {
                if let handler = state.handlers.removeValue(forKey: timer.payload) { due.append(handler) }
            }
            state.armed = nil
            arm(&state)
            return due
        }
        for handler in due { handler.call() }
    }

    /// Sets Dispatch's timer only if it has to come earlier, or not at all: an idle wake-up is cheaper.
    private func arm(_ state: inout State) {
        guard let next = state.wheel.next else {
            if state.armed != nil { timer.schedule(deadline: .distantFuture) }
            state.armed = nil
            return
        }
        let now = ContinuousClock.now
        let mayBeLate = state.handlers.values.allSatisfy(\.mayBeLate)
        let wakeUp = mayBeLate ? next : min(next, nanoseconds(now + Self.longestWait))
        guard wakeUp < state.armed ?? .max else { return }
        state.armed = wakeUp
        timer.schedule(deadline: .now() + .nanoseconds(Int(wakeUp - min(wakeUp, nanoseconds(now)))))
    }

    /// Rounded up, so that nothing is early; an instant that is 570 years away counts as never.
    private func nanoseconds(_ instant: ContinuousClock.Instant) -> UInt64 {
        let (seconds, attoseconds) = max(.zero, origin.duration(to: instant)).components
        guard seconds < 18_000_000_000 else { return .max }
        return UInt64(seconds) * 1_000_000_000 + UInt64((attoseconds + 999_999_999) / 1_000_000_000)
    }
}
