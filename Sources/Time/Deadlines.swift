import Dispatch
import Synchronization
package import TimerWheel

/// All waits of the process that end at an instant: time limits, retries. One wheel on one kernel timer; a timer for
/// each wait would cost hundreds of times as much. No wait ends early. Without waits nothing wakes up.
package final class Deadlines: Sendable {
    /// The process's own.
    package static let shared = Deadlines()

    /// Names a wait until it ends or is canceled.
    package typealias Handle = TimerWheel.Handle

    private typealias Handler = @Sendable () -> Void

    private struct State: ~Copyable {
        /// In nanoseconds since `origin`; the payload is the key of the handler.
        var wheel = TimerWheel()
        var handlers: [UInt64: Handler] = [:]
        var lastKey: UInt64 = 0
        /// The instant that the timer is set to, in the wheel's unit; `UInt64.max` when the timer is off.
        var armed = UInt64.max
    }

    private let state = Mutex(State())
    private let origin = ContinuousClock.now
    private let timer: KernelTimer

    package init() {
        do {
            timer = try KernelTimer(isOfWallClock: false, on: DispatchQueue(label: "mcp-cleanupd.deadlines"))
        } catch {
            // Dispatch ends the process too where the system has no timer for it.
            preconditionFailure("\(error)")
        }
        timer.activate { [weak self] _ in self?.timeCame() }
    }

    /// Calls the handler once, at the instant or as soon as possible after it, unless the wait is canceled before: on a
    /// serial queue, in the order of the instants. The handler must not block, and may add and cancel waits.
    package func add(at instant: ContinuousClock.Instant, _ handler: @escaping @Sendable () -> Void) -> Handle {
        state.withLock { state in
            state.lastKey += 1
            state.handlers[state.lastKey] = handler
            defer { arm(&state) }
            return state.wheel.add(deadline: nanoseconds(instant), payload: state.lastKey)
        }
    }

    /// Ends a wait without calling its handler. Does not wait for a handler that is running already.
    package func cancel(_ handle: Handle) {
        // Returned, so that the handler is released outside of the lock.
        _ = state.withLock { state in
            let key = state.wheel.cancel(handle)
            if state.wheel.isEmpty { arm(&state) }
            return key.flatMap { state.handlers.removeValue(forKey: $0) }
        }
    }

    private func timeCame() {
        let due = state.withLock { state in
            var due: [Handler] = []
            let now = nanoseconds(.now)
            // The loop ends because nothing is added under the lock.
            while let timer = state.wheel.pop(now: now) {
                if let handler = state.handlers.removeValue(forKey: timer.payload) { due.append(handler) }
            }
            state.armed = .max
            arm(&state)
            return due
        }
        for handler in due { handler() }
    }

    /// Sets the timer only earlier, or off when the wheel is empty: an idle wake-up costs less than each setting.
    private func arm(_ state: inout State) {
        let next = state.wheel.next ?? .max
        guard next < state.armed || state.wheel.isEmpty else { return }
        state.armed = next
        let now = nanoseconds(.now)
        timer.set(next == .max ? nil : .nanoseconds(Int64(clamping: next - min(next, now))))
    }

    /// Rounded up, so that nothing is early; an instant that is 584 years away counts as never.
    private func nanoseconds(_ instant: ContinuousClock.Instant) -> UInt64 {
        UInt64(clamping: (max(.zero, origin.duration(to: instant)).attoseconds + 999_999_999) / 1_000_000_000)
    }
}
