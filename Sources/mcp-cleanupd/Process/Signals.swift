import Glibc
import Synchronization

/// The signals that ask a process to end, taken one after the other by the main thread, which does nothing else.
///
/// Nothing that blocks elsewhere can hold them up, and a one-shot command needs no thread more for them, as it would with
/// Dispatch's sources.
enum Signals {
    private static let numbers = [SIGINT, SIGTERM, SIGHUP]
    private static let handler = Mutex<(@Sendable (Int32) -> Void)?>(nil)

    /// Keeps the signals for `take`. Before any other thread is made, since threads inherit it.
    static func hold() {
        var set = set
        pthread_sigmask(SIG_BLOCK, &set, nil)
    }

    /// Sets what to do with each signal from now on, on the main thread; must not block. Without it a signal does what it
    /// does to every program.
    static func handle(_ handler: (@Sendable (Int32) -> Void)?) {
        Self.handler.withLock { $0 = handler }
    }

    /// Takes signals until the process ends. On the main thread.
    static func take() -> Never {
        var set = set
        while true {
            var number: Int32 = 0
            // Fails for a bad set only: sigwait(3).
            guard sigwait(&set, &number) == 0 else { continue }
            if let handler = handler.withLock(\.self) {
                handler(number)
            } else if !isIgnored(number) {
                end(by: number)
            }
        }
    }

    /// Whether nohup(1), or a shell that put us into the background, has told us to ignore the signal. A signal that is
    /// held comes all the same.
    static func isIgnored(_ number: Int32) -> Bool {
        var action = sigaction()
        guard sigaction(number, nil, &action) == 0 else { return false }
        // SIG_IGN is the number 1 in a pointer's place: signal(2).
        return unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) == 1
    }

    private static func end(by number: Int32) {
        var set = set
        pthread_sigmask(SIG_UNBLOCK, &set, nil)
        raise(number)
        // The first process of a container outlives it.
        _exit(128 + number)
    }

    private static var set: sigset_t {
        var set = sigset_t()
        sigemptyset(&set)
        for number in numbers { sigaddset(&set, number) }
        return set
    }
}
