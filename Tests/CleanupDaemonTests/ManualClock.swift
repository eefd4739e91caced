import CleanupDaemon
import Synchronization
import Time

/// The instants at which the scheduler's loop has work to do.
struct WakeUp: Hashable, Sendable {
    var wall: UTCInstant?
    var elapsed: Duration?
}

/// A clock that moves only when told to, and tells when the loop has gone to sleep.
final class ManualClock: SchedulerClock {
    private struct State {
        var now: TwoClocks
        var onWakeUp: (@Sendable (Bool) -> Void)?
    }

    private let state: Mutex<State>
    private let sleeps: AsyncStream<WakeUp>
    private let sender: AsyncStream<WakeUp>.Continuation

    init(at start: String) {
        state = Mutex(State(now: TwoClocks(wall: UTCInstant(rfc3339: start)!, elapsed: .zero)))
        (sleeps, sender) = AsyncStream.makeStream()
    }

    var now: TwoClocks { state.withLock { $0.now } }

    func sleep(
        untilWall wall: UTCInstant?, elapsed: Duration?, onWakeUp: @escaping @Sendable (_ wasClockSet: Bool) -> Void
    ) {
        state.withLock { $0.onWakeUp = onWakeUp }
        sender.yield(WakeUp(wall: wall, elapsed: elapsed))
    }

    /// Waits until the loop goes to sleep again. Each sleep is returned once, in order; only one task may wait.
    ///
    /// - Throws: `CancellationError` when the test's time limit has passed.
    func nextSleep() async throws -> WakeUp {
        for await sleep in sleeps { return sleep }
        throw CancellationError()
    }

    /// Lets time pass on both clocks, and wakes the loop as its timer would.
    func advance(by duration: Duration) {
        let onWakeUp = state.withLock { state in
            state.now.wall += duration
            state.now.elapsed += duration
            return state.onWakeUp
        }
        onWakeUp?(false)
    }

    /// Sets the wall clock, as an administrator does.
    func set(to wall: String) {
        let onWakeUp = state.withLock { state in
            state.now.wall = UTCInstant(rfc3339: wall)!
            return state.onWakeUp
        }
        onWakeUp?(true)
    }
}
