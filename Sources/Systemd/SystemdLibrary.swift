import CSystemd
import Glibc

/// libsystemd's functions. The first call loads the library; it stays loaded.
///
/// Linking would make every process load it and seven more libraries, `--once` from cron included, which never calls
/// it: 0.6 ms of each start (Benchmarks/RESULTS.md).
package enum SystemdLibrary {
    /// What the installed library lacks of what a service needs, for a message; `nil` if it lacks nothing.
    package static var shortcoming: String? {
        if case .failure(let error) = handle { return "\(error)" }
        let missing = versions.filter { $0.key != "sd_journal_sendv" && address(of: $0.key) == nil }
        guard !missing.isEmpty else { return nil }
        return missing.map { "\(SystemdError.lacks(function: $0.key, since: $0.value))" }.joined(separator: "; ")
    }

    /// Sends assignments to the service manager: sd_notify(3). Blocks while the manager's queue is full.
    static func notify(_ assignments: String) throws(SystemdError) {
        try check(function("sd_notify", as: sd_notify_function.self)(0, assignments))
    }

    /// Waits until the manager has processed all notifications sent before: sd_notify_barrier(3). Sending itself may
    /// block longer than the timeout.
    static func notifyBarrier(timeout: Duration) throws(SystemdError) {
        let function = try function("sd_notify_barrier", as: sd_notify_barrier_function.self)
        try check(function(0, UInt64(timeout / .microseconds(1))))
    }

    /// The time after which the manager ends this process if it is silent: sd_watchdog_enabled(3).
    static func watchdogMicroseconds() throws(SystemdError) -> UInt64? {
        var microseconds: UInt64 = 0
        let isSet = try check(function("sd_watchdog_enabled", as: sd_watchdog_enabled_function.self)(0, &microseconds))
        return isSet > 0 ? microseconds : nil
    }

    /// The descriptors that the manager passed to this process, with their names: sd_listen_fds_with_names(3).
    static func passedDescriptors() throws(SystemdError) -> [(descriptor: Int32, name: String)] {
        let function = try function("sd_listen_fds_with_names", as: sd_listen_fds_with_names_function.self)
        // Set by the function: an array with a string for each descriptor, which the caller frees.
        var names: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
        let count = try check(function(0, &names))
        defer { free(names) }
        return (0..<count).map { index in
            let name = names?[Int(index)]
            defer { free(name) }
            return (SD_LISTEN_FDS_START + index, name.map { String(cString: $0) } ?? "unknown")
        }
    }

    /// Sends one entry of fields, each `NAME=value`, to the journal: sd_journal_sendv(3). Blocks while journald does
    /// not read. Without a journal's socket the call succeeds and the entry is lost.
    static func sendToJournal(_ fields: [String]) throws(SystemdError) {
        let function = try function("sd_journal_sendv", as: sd_journal_sendv_function.self)
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

    /// The version of systemd that brought each function to this library, which came with 209.
    private static let versions: KeyValuePairs = [
        "sd_notify": 209, "sd_notify_barrier": 246, "sd_watchdog_enabled": 209, "sd_listen_fds_with_names": 227,
        "sd_journal_sendv": 209,
    ]

    private static let handle: Result<UInt, SystemdError> = {
        let name = "libsystemd.so.0"
        guard let pointer = dlopen(name, RTLD_NOW | RTLD_LOCAL) else {
            return .failure(.notLoaded(dlerror().map { String(cString: $0) } ?? name))
        }
        return .success(UInt(bitPattern: pointer))
    }()

    /// `nil` if the library has no such function, or is not loaded.
    private static func address(of function: String) -> UnsafeMutableRawPointer? {
        guard case .success(let handle) = handle else { return nil }
        // dlopen(3)'s pointer, valid to the end of the process.
        return dlsym(UnsafeMutableRawPointer(bitPattern: handle), function)
    }

    private static func function<Function>(_ name: String, as: Function.Type) throws(SystemdError) -> Function {
        _ = try handle.get()
        guard let address = address(of: name) else {
            throw .lacks(function: name, since: versions.first { $0.key == name }?.value ?? 0)
        }
        // A C function pointer is as large as a data pointer on Linux: dlsym(3). The headers give its type (CSystemd).
        return unsafeBitCast(address, to: Function.self)
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
