/// Counts the rows deleted in the last 24 hours, in slots of a quarter of an hour: 97 numbers at most.
package struct RecentDeletions: Sendable {
    private var slots: [(number: Int64, rows: Int)] = []

    private static let slotLength: Int64 = 900
    private static let slotsInDay: Int64 = 96

    /// - Parameter elapsed: time since the process began, which never goes back.
    mutating func add(_ rows: Int, at elapsed: Duration) {
        guard rows > 0 else { return }
        let number = elapsed.components.seconds / Self.slotLength
        if slots.last?.number == number {
            slots[slots.count - 1].rows += rows
        } else {
            slots.append((number, rows))
            slots.removeAll { $0.number < number - Self.slotsInDay }
        }
    }

    /// Rows of the current slot and the 96 before it.
    package func total(at elapsed: Duration) -> Int {
        let first = elapsed.components.seconds / Self.slotLength - Self.slotsInDay
        return slots.reduce(0) { $0 + ($1.number >= first ? $1.rows : 0) }
    }
}
