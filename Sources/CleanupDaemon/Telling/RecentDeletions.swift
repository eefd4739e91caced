/// Counts the rows deleted in the last 24 hours, in slots of a quarter of an hour: 97 numbers at most.
package struct RecentDeletions: Sendable {
    private var slots: [(number: Int64, rows: Int)] = []
    /// True once the history was read; before, only this process's deletions count.
    package private(set) var areOfAllProcesses = false

    private static let slotLength: Int64 = 900
    private static let slotsInDay: Int64 = 96

    /// - Parameter elapsed: time since the process began, which never goes back.
    mutating func add(_ rows: Int, at elapsed: Duration) {
        guard rows > 0 else { return }
        let number = Self.slot(elapsed)
        if slots.last?.number == number {
            slots[slots.count - 1].rows += rows
        } else {
            slots.append((number, rows))
            slots.removeAll { $0.number < number - Self.slotsInDay }
        }
    }

    /// Takes over what the history has, this process's own included.
    ///
    /// - Parameter rows: by their age in slots.
    mutating func replace(by rows: [Int: Int], at elapsed: Duration) {
        let last = Self.slot(elapsed)
        slots = rows.map { (last - Int64($0.key), $0.value) }.sorted { $0.number < $1.number }
        areOfAllProcesses = true
    }

    /// Rows of the current slot and the 96 before it.
    package func total(at elapsed: Duration) -> Int {
        let first = Self.slot(elapsed) - Self.slotsInDay
        return slots.reduce(0) { $0 + ($1.number >= first ? $1.rows : 0) }
    }

    private static func slot(_ elapsed: Duration) -> Int64 { elapsed.components.seconds / slotLength }
}
