/// Something that takes long to start, such as a server. The first caller starts it, and all callers share it.
package actor StartedOnce<Value: Sendable> {
    private let start: @Sendable () async throws -> Value
    private var started: Task<Value, any Error>?

    package init(_ start: @escaping @Sendable () async throws -> Value) { self.start = start }

    /// - Throws: the error of the start, to every caller: a failed start is not repeated.
    package var value: Value {
        get async throws {
            if let started { return try await started.value }
            // Unstructured: the start must not be canceled with the first test that asks for it.
            let task = Task(operation: start)
            started = task
            return try await task.value
        }
    }
}
