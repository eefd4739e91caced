import Dispatch
import Glibc
import Synchronization
import Time

/// One wait for one socket: until it can be read or written, a deadline passes or the task is canceled.
///
/// libpq may close its socket and open another under the same number, so no Dispatch source may be left when libpq is
/// called again: a wait ends only when each of its sources has reported its cancellation.
final class SocketWait: Sendable {
    enum Outcome: Sendable {
        case ready, deadlinePassed, canceled
    }

    struct Directions: OptionSet {
        let rawValue: Int16
        static let read = Directions(rawValue: Int16(POLLIN))
        static let write = Directions(rawValue: Int16(POLLOUT))
    }

    private struct State: Sendable {
        /// The first one.
        var outcome: Outcome?
        /// Armed sources that have not reported their cancellation yet.
        var sourcesLeft: Int
    }

    private let state: Mutex<State>
    private let sources: [any DispatchSourceProtocol & Sendable]
    private let ended = FirstAnswer<Outcome>()

    private init(socket: Int32, directions: Directions, queue: DispatchQueue) {
        var sources: [any DispatchSourceProtocol & Sendable] = []
        if directions.contains(.read) {
            // Dispatch's protocols are not Sendable; the class that it returns for all of them is.
            sources.append(DispatchSource.makeReadSource(fileDescriptor: socket, queue: queue) as! DispatchSource)
        }
        if directions.contains(.write) {
            // As above.
            sources.append(DispatchSource.makeWriteSource(fileDescriptor: socket, queue: queue) as! DispatchSource)
        }
        self.sources = sources
        state = Mutex(State(sourcesLeft: sources.count))
        for source in sources {
            source.setEventHandler { self.end(.ready) }
            source.setCancelHandler { self.sourceEnded() }
        }
        for source in sources { source.activate() }
    }

    /// The longest wait that blocks the connection's queue, and may delay a cancellation: most answers of a near server
    /// come within it, its start of a process included. Longer waits use sources, which cost two changes of thread.
    private static let briefWait = Duration.milliseconds(10)

    /// Waits until the socket is ready, the deadline has passed or the task is canceled, if that is heeded. The
    /// sources' handlers run on `queue`. The queue of `isolation`, the calling actor, may be blocked for `briefWait`.
    static func wait(
        for directions: Directions, of socket: Int32, until deadline: ContinuousClock.Instant, on queue: DispatchQueue,
        heedsCancellation: Bool = true, isolation: isolated (any Actor)? = #isolation
    ) async -> Outcome {
        // A socket that is always ready must not win the race against a deadline that has passed.
        if heedsCancellation, Task.isCancelled { return .canceled }
        let left = ContinuousClock.now.duration(to: deadline)
        if left <= .zero { return .deadlinePassed }
        // libpq has dropped the connection and will say so when it is asked.
        guard socket >= 0 else { return .ready }
        // Without an actor's queue under it this runs on the cooperative pool, which must not be blocked.
        if isolation != nil {
            if isReady(socket, directions, after: min(briefWait, left)) { return .ready }
            if left <= briefWait { return .deadlinePassed }
        }
        let wait = SocketWait(socket: socket, directions: directions, queue: queue)
        return await wait.ended.value(until: deadline, heedsCancellation: heedsCancellation) { isCanceled in
            wait.end(isCanceled ? .canceled : .deadlinePassed)
        }
    }

    /// True if the socket is ready, at once or within a limit, which blocks.
    static func isReady(_ socket: Int32, _ directions: Directions, after limit: Duration = .zero) -> Bool {
        var descriptor = pollfd(fd: socket, events: directions.rawValue, revents: 0)
        // Rounded up, so that a wait of less than a millisecond is no busy loop.
        return poll(&descriptor, 1, Int32((limit / .milliseconds(1)).rounded(.up))) > 0
    }

    private func end(_ outcome: Outcome) {
        let isFirst = state.withLock { state in
            defer { state.outcome = state.outcome ?? outcome }
            return state.outcome == nil
        }
        if isFirst { for source in sources { source.cancel() } }
    }

    private func sourceEnded() {
        let outcome: Outcome? = state.withLock { state in
            state.sourcesLeft -= 1
            return state.sourcesLeft == 0 ? state.outcome : nil
        }
        if let outcome { ended.give(outcome) }
    }
}
