import ArgumentParser
import Dispatch
import Glibc
import Logging
import Synchronization
import Time

/// The signals that ask a process to end or to reload, received by the main thread, which does nothing else: no code
/// that blocks elsewhere delays them, and they need no further thread, as Dispatch's sources would.
enum Signals {
    /// Called on the main thread; must not block. While it is nil, a signal ends the process, unless it is ignored.
    private static let handler = Mutex<(@Sendable (Int32) -> Void)?>(nil)
    /// The first signal that asked the process to end; 0 before it came.
    private static let first = Atomic<Int32>(0)

    /// Blocks the signals for `take`. To be called before any thread is made, since threads inherit the mask.
    static func hold() {
        var set = set
        pthread_sigmask(SIG_BLOCK, &set, nil)
    }

    /// Receives the signals until the process ends. To be called on the main thread.
    static func take() -> Never {
        var set = set
        while true {
            var number: Int32 = 0
            // Fails for a bad set only: sigwait(3).
            guard sigwait(&set, &number) == 0 else { continue }
            if let handler = handler.withLock(\.self) {
                handler(number)
            } else if !isIgnored(number) {
                pthread_sigmask(SIG_UNBLOCK, &set, nil)
                raise(number)
                // Reached in the first process of a container, which survives the signal.
                _exit(128 + number)
            }
        }
    }

    /// Runs the body of a one-shot command in a task that the first signal cancels; the second ends the process at once.
    ///
    /// - Throws: the error that `body` throws; if a signal came, the exit code, after `body` has ended.
    static func canceling<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) async throws -> Value {
        // Awaited below, and canceled by a signal. A task group has no member that a signal could cancel.
        let task = Task(executorPreference: TaskQueue.shared) { try await body() }
        handle { number in
            guard !isIgnored(number) else { return }
            if isFirst(number) { task.cancel() } else { _exit(128 + number) }
        }
        let result = await task.result
        handle(nil)
        let signal = first.load(ordering: .relaxed)
        if signal != 0 { throw ExitCode(128 + signal) }
        return try result.get()
    }

    /// Takes a service's signals from now on. SIGTERM and SIGINT: the first asks for an orderly end, which has a limit; the
    /// second ends the process at once, and the server rolls back what was under way. SIGHUP reads the configuration again.
    /// The service group's own handling ignores second signals, and misses one that comes before it runs.
    ///
    /// - Parameters:
    ///   - timeout: the time from the first signal after which the process ends in any case, with exit code 0.
    ///   - stop: called at the first signal; must not block.
    ///   - reload: called at each SIGHUP, one call at a time, on a queue of its own: reading a file may block.
    static func serve(
        timeout: Duration, logger: Logger, stop: @escaping @Sendable () -> Void, reload: @escaping @Sendable () -> Void
    ) {
        let queue = DispatchQueue(label: "mcp-cleanupd.reload")
        handle { number in
            guard number != SIGHUP else { return queue.async(execute: reload) }
            guard isFirst(number) else { _exit(128 + number) }
            stop()
            _ = Deadlines.shared.add(at: .now + timeout) { giveUp(timeout, logger) }
        }
    }

    private static func handle(_ action: (@Sendable (Int32) -> Void)?) { handler.withLock { $0 = action } }

    /// Ends the process: a canceled run takes only seconds, even if the server is silent, so something is stuck.
    private static func giveUp(_ timeout: Duration, _ logger: Logger) {
        let said = DispatchSemaphore(value: 0)
        // On another queue: the log may be what blocks.
        DispatchQueue(label: "mcp-cleanupd.end").async {
            logger.critical(
                "Something did not end within \(timeout.secondsText) of the request to stop; ending without it.")
            said.signal()
        }
        // Enough for a log that works on a busy machine, and little on top of the timeout.
        _ = said.wait(timeout: .now() + .milliseconds(100))
        _exit(0)
    }

    private static func isFirst(_ number: Int32) -> Bool {
        first.compareExchange(expected: 0, desired: number, ordering: .relaxed).exchanged
    }

    /// True if nohup(1), or a shell that put us into the background, has told us to ignore the signal: `sigwait`
    /// receives a blocked signal even so.
    private static func isIgnored(_ number: Int32) -> Bool {
        var action = sigaction()
        guard sigaction(number, nil, &action) == 0 else { return false }
        // SIG_IGN is the number 1 in a pointer's place: signal(2).
        return unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) == 1
    }

    private static var set: sigset_t {
        var set = sigset_t()
        sigemptyset(&set)
        for number in [SIGINT, SIGTERM, SIGHUP] { sigaddset(&set, number) }
        return set
    }
}
