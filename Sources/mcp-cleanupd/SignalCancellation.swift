import Dispatch
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
        let task = Task(executorPreference: TaskQueue.shared) { try await body() }
        let queue = DispatchQueue(label: "mcp-cleanupd.signals")
        // What nohup(1), or a shell in the background, has told us to ignore stays ignored.
        let sources = [SIGINT, SIGTERM, SIGHUP].filter { !isIgnored($0) }.map { number in
            let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
            source.setEventHandler {
                if cancellation.isFirst(number) { task.cancel() } else { _exit(128 + number) }
            }
            source.activate()
            return source
        }
        let result = await task.result
        for source in sources { source.cancel() }
        if let signal = cancellation.received.withLock(\.self) { throw EndedBySignal(signal: signal) }
        return try result.get()
    }

    private static func isIgnored(_ number: Int32) -> Bool {
        var action = sigaction()
        guard sigaction(number, nil, &action) == 0 else { return false }
        // SIG_IGN is the number 1 in a pointer's place: signal(2).
        return unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) == 1
    }

    private func isFirst(_ signal: Int32) -> Bool {
        received.withLock { received in
            guard received == nil else { return false }
            received = signal
            return true
        }
    }
}
