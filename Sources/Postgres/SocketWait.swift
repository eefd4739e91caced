import Dispatch
import Glibc
import Time

/// A wait for a socket: until it can be read or written, a deadline passes or the task is canceled.
enum SocketWait {
    enum Outcome: Sendable {
        case ready, deadlinePassed, canceled
    }

    enum Direction {
        case read, write
    }

    /// The longest wait that blocks the connection's queue, and may delay a cancellation. Most answers of a near server
    /// come within it, even with the start of its process. Longer waits use sources, which cost two changes of thread.
    private static let briefWait = Duration.milliseconds(10)

    /// Waits until the socket is ready, the deadline has passed or, with `heedsCancellation`, the task is canceled. The
    /// source's handlers run on `queue`. The queue of `isolation`, the calling actor, may be blocked for `briefWait`.
    static func wait(
        for direction: Direction, of socket: Int32, until deadline: ContinuousClock.Instant, on queue: DispatchQueue,
        heedsCancellation: Bool = true, isolation: isolated (any Actor)? = #isolation
    ) async -> Outcome {
        // A socket that is always ready must not win the race against a deadline that has passed.
        if heedsCancellation, Task.isCancelled { return .canceled }
        let left = ContinuousClock.now.duration(to: deadline)
        if left <= .zero { return .deadlinePassed }
        // libpq has dropped the connection and will say so when it is asked.
        guard socket >= 0 else { return .ready }
        // Without an isolating actor this runs on the cooperative pool, which must not be blocked.
        if isolation != nil {
            if isReady(socket, direction, after: min(briefWait, left)) { return .ready }
            if left <= briefWait { return .deadlinePassed }
        }
        let source: any DispatchSourceProtocol & Sendable =
            switch direction {
            // Dispatch's protocols are not Sendable; the class that it returns for all of them is.
            case .read: DispatchSource.makeReadSource(fileDescriptor: socket, queue: queue) as! DispatchSource
            case .write: DispatchSource.makeWriteSource(fileDescriptor: socket, queue: queue) as! DispatchSource
            }
        let (outcome, end) = (FirstAnswer<Outcome>(), FirstAnswer<Void>())
        source.setEventHandler {
            outcome.give(.ready)
            source.cancel()
        }
        source.setCancelHandler { end.give(()) }
        source.activate()
        let first = await outcome.value(
            until: deadline, heedsCancellation: heedsCancellation, orLate: .deadlinePassed, orCanceled: .canceled)
        source.cancel()
        // libpq may close its socket and open another under the same number: no source may be left when it is called.
        await end.value
        return first
    }

    /// True if the socket is ready now or within the limit; blocks until then.
    static func isReady(_ socket: Int32, _ direction: Direction, after limit: Duration = .zero) -> Bool {
        var descriptor = pollfd(fd: socket, events: Int16(direction == .read ? POLLIN : POLLOUT), revents: 0)
        // Rounded up, so that a wait of less than a millisecond is no busy loop.
        return poll(&descriptor, 1, Int32((limit / .milliseconds(1)).rounded(.up))) > 0
    }
}
