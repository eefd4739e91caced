import Glibc
import Synchronization

/// The process was asked to end, and did.
struct EndedBySignal: Error {
    let signal: Int32
}

/// Lets the first SIGINT, SIGTERM or SIGHUP cancel a one-shot command, and the second end the process at once.
final class SignalCancellation: Sendable {
    private let received = Mutex<Int32?>(nil)

    /// Runs `body` in a task that the first signal cancels.
    ///
    /// - Throws: what `body` throws; `EndedBySignal`, after `body` has ended, when a signal came.
    static func run<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) async throws -> Value {
        let cancellation = SignalCancellation()
        // Awaited below, and canceled by a signal. A task group has no member that a signal could cancel.
        let task = Task(executorPreference: TaskQueue.shared) { try await body() }
        Signals.handle { number in
            guard !Signals.isIgnored(number) else { return }
            if cancellation.isFirst(number) { task.cancel() } else { _exit(128 + number) }
        }
        let result = await task.result
        Signals.handle(nil)
        if let signal = cancellation.received.withLock(\.self) { throw EndedBySignal(signal: signal) }
        return try result.get()
    }

    private func isFirst(_ signal: Int32) -> Bool {
        received.withLock { received in
            guard received == nil else { return false }
            received = signal
            return true
        }
    }
}
