import CSystemd
import Glibc

/// libsystemd's functions. The first call loads the library; it stays loaded.
///
/// It is loaded and not linked because linking makes every process load it and seven more libraries, `--once` from cron
/// included, which never calls it: 0.6 ms of each start (Benchmarks/RESULTS.md).
package enum SystemdLibrary {
    private static let name = "libsystemd.so.0"

    /// The functions that a service needs, and the version of systemd that brought each to this library, which came with 209.
    private static let functions = [
        ("sd_notify", 209), ("sd_notify_barrier", 246), ("sd_watchdog_enabled", 209), ("sd_listen_fds_with_names", 227),
    ]

    /// What the installed library lacks, for a message; `nil` if it has everything that a service calls.
    package static var shortcoming: String? {
        if case .failure(let error) = handle { return "\(error)" }
        let missing = functions.filter { address(of: $0.0) == nil }
        guard !missing.isEmpty else { return nil }
        return missing.map { "\(SystemdError.lacks(function: $0.0, since: $0.1))" }.joined(separator: "; ")
    }

    /// Sends assignments to the service manager: sd_notify(3). Blocks while the manager's queue is full.
    ///
    /// - Throws: `SystemdError`; `.failed(ENOENT)` or `.failed(ECONNREFUSED)` if nothing listens at `NOTIFY_SOCKET`.
    static func notify(_ assignments: String) throws(SystemdError) {
        let function = try function("sd_notify", since: 209, as: sd_notify_function.self)
        try check(function(0, assignments))
    }

    /// Waits until the manager has processed all notifications sent before: sd_notify_barrier(3).
    ///
    /// - Throws: `SystemdError`; `.failed(ETIMEDOUT)` after the timeout. Sending itself may block longer.
    static func notifyBarrier(timeout: Duration) throws(SystemdError) {
        let function = try function("sd_notify_barrier", since: 246, as: sd_notify_barrier_function.self)
        try check(function(0, UInt64(timeout / .microseconds(1))))
    }

    /// The time after which the manager ends this process if it is silent: sd_watchdog_enabled(3).
    ///
    /// - Returns: microseconds; `nil` if no watchdog is set for this process.
    /// - Throws: `SystemdError`; `.failed(EINVAL)` for variables that are no numbers.
    static func watchdogMicroseconds() throws(SystemdError) -> UInt64? {
        let function = try function("sd_watchdog_enabled", since: 209, as: sd_watchdog_enabled_function.self)
        var microseconds: UInt64 = 0
        return try check(function(0, &microseconds)) > 0 ? microseconds : nil
    }

    /// The descriptors that the manager passed to this process, with their names: sd_listen_fds_with_names(3).
    ///
    /// - Throws: `SystemdError`; `.failed(EBADF)` if a descriptor is not open, `.failed(EINVAL)` for a variable that is no
    ///   number.
    static func passedDescriptors() throws(SystemdError) -> [(descriptor: Int32, name: String)] {
        let function = try function(
            "sd_listen_fds_with_names", since: 227, as: sd_listen_fds_with_names_function.self)
        // Set by the function, and freed below.
        var names: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
        let count = try check(function(0, &names))
        defer {
            // The caller frees the array and its strings, of which there are as many as descriptors: sd_listen_fds(3).
            if let names { for index in 0..<Int(count) { free(names[index]) } }
            free(names)
        }
        return (0..<count).map { index in
            // As above: one string for each descriptor.
            let name = names?[Int(index)].map { String(cString: $0) } ?? "unknown"
            return (SD_LISTEN_FDS_START + index, name)
        }
    }

    /// Sends one entry to the journal: sd_journal_sendv(3). Blocks while journald does not read.
    ///
    /// - Parameter fields: each `NAME=value`. A value may have several lines, and any length.
    /// - Throws: `SystemdError`. Without a journal's socket the call succeeds and the entry is lost.
    static func sendToJournal(_ fields: [String]) throws(SystemdError) {
        let function = try function("sd_journal_sendv", since: 209, as: sd_journal_sendv_function.self)
        var bytes = fields.flatMap(\.utf8)
        let result = bytes.withUnsafeMutableBytes { buffer in
            var offset = 0
            let vectors = fields.map { field in
                defer { offset += field.utf8.count }
                // Within the buffer, which has all fields one after the other and outlives the call.
                return iovec(iov_base: buffer.baseAddress?.advanced(by: offset), iov_len: field.utf8.count)
            }
            return function(vectors, Int32(vectors.count))
        }
        try check(result)
    }

    // MARK: Loading

    /// What dlopen(3) returned.
    private struct Handle: @unchecked Sendable {
        // Sendable: the loader's own functions, which are thread-safe, are all that uses the pointer.
        let pointer: UnsafeMutableRawPointer
    }

    private static let handle: Result<Handle, SystemdError> = {
        guard let pointer = dlopen(name, RTLD_NOW | RTLD_LOCAL) else {
            return .failure(.notLoaded(dlerror().map { String(cString: $0) } ?? name))
        }
        return .success(Handle(pointer: pointer))
    }()

    /// `nil` if the library has no such function, or is not loaded.
    private static func address(of function: String) -> UnsafeMutableRawPointer? {
        // Valid to the end of the process: the library is never unloaded.
        guard case .success(let handle) = handle else { return nil }
        return dlsym(handle.pointer, function)
    }

    private static func function<Function>(
        _ name: String, since version: Int, as type: Function.Type
    ) throws(SystemdError) -> Function {
        _ = try handle.get()
        guard let address = address(of: name) else { throw .lacks(function: name, since: version) }
        // A C function pointer is as large as a data pointer on Linux: dlsym(3). The headers give its type (CSystemd).
        return unsafeBitCast(address, to: type)
    }

    /// Libsystemd's convention: a negative `errno`, or a result.
    @discardableResult
    private static func check(_ result: Int32) throws(SystemdError) -> Int32 {
        guard result >= 0 else { throw .failed(-result) }
        return result
    }
}

/// Why a call to libsystemd did not succeed.
package enum SystemdError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The loader's message.
    case notLoaded(String)
    /// The installed library is older than the function.
    case lacks(function: String, since: Int)
    /// An `errno`.
    case failed(Int32)

    package var description: String {
        switch self {
        case .notLoaded(let message): "libsystemd cannot be loaded (\(message))"
        case .lacks(let function, let version): "libsystemd has no \(function), which came with systemd \(version)"
        case .failed(let code): String(cString: strerror(code))
        }
    }
}
