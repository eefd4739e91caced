/// Checks the condition every 20 ms until it is true. Returns false if it is still false after the limit, which is generous
/// because a busy machine is slow: a condition that comes true ends the wait at once.
package func eventually(
    within limit: Duration = .seconds(30), _ condition: () async throws -> Bool
) async throws -> Bool {
    let deadline = ContinuousClock.now + limit
    var isOver = false
    while try await !condition() {
        if isOver { return false }
        // The condition is looked at once more after the limit: on a busy machine one look may take as long.
        isOver = ContinuousClock.now >= deadline
        try await Task.sleep(for: .milliseconds(20))
    }
    return true
}

/// Waits until the condition is true.
///
/// - Parameters:
///   - event: what the test waits for, for the error.
///   - details: text for the error that helps to find the cause, such as a log; read only after the limit.
/// - Throws: `TestServerError` with the event and the details if the condition is still false after the limit.
package func eventually(
    _ event: String, within limit: Duration = .seconds(30), details: () async throws -> String = { "" },
    _ condition: () async throws -> Bool
) async throws {
    guard try await !eventually(within: limit, condition) else { return }
    throw TestServerError("not within \(limit): \(event)\n\(try await details())")
}
