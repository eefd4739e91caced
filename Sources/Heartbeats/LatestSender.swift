import Dispatch
import Synchronization
import Time

/// Delivers items one at a time, on a thread of its own, so that a slow receiver delays no caller. Items that come during a
/// delivery wait; of equal ones that wait, the latest is left.
final class LatestSender<Item: Hashable & Sendable>: Sendable {
    private struct State {
        var isSending = false
        /// Each item once, in the order of its latest request: no more than there are different items.
        var waiting: [Item] = []
    }

    private let state = Mutex(State())
    private let queue: DispatchQueue
    private let deliver: @Sendable (Item) -> Void

    /// - Parameter deliver: may block; called on `queue`, a serial one.
    init(queue: DispatchQueue, deliver: @escaping @Sendable (Item) -> Void) {
        self.queue = queue
        self.deliver = deliver
    }

    /// Delivers the item, now or after the delivery under way. Returns at once; from any thread.
    func send(_ item: Item) {
        let isIdle = state.withLock { state in
            defer { state.isSending = true }
            state.waiting.removeAll { $0 == item }
            state.waiting.append(item)
            return !state.isSending
        }
        if isIdle { queue.async { [self] in deliverAll() } }
    }

    /// True while a delivery is under way, or about to be.
    var isSending: Bool { state.withLock(\.isSending) }

    /// Waits until nothing is being delivered, for as long as `limit` at most; shorter if the task is canceled.
    ///
    /// - Returns: true if all deliveries have ended.
    func finish(within limit: Duration) async -> Bool {
        let (ends, end) = AsyncStream<Void>.makeStream()
        // Behind the deliveries, on their queue.
        queue.async { end.finish() }
        let deadline = Deadlines.shared.add(at: .now + limit) { end.finish() }
        for await _ in ends {}
        Deadlines.shared.cancel(deadline)
        return !isSending
    }

    private func deliverAll() {
        // Ends when nothing was requested during the last delivery.
        while let item = next() { deliver(item) }
    }

    private func next() -> Item? {
        state.withLock { state in
            state.isSending = !state.waiting.isEmpty
            return state.isSending ? state.waiting.removeFirst() : nil
        }
    }
}
