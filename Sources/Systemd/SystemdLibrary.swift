import CSystemd
import Glibc

/// libsystemd's functions. The first call loads the library; it stays loaded. Linking would make every process load it and seven
/// more libraries, `--once` from cron included, which never calls it: 0.6 ms of each start (Benchmarks/RESULTS.md).
package enum SystemdLibrary {
    /// A message about the functions that a service needs and the installed library lacks; `nil` if it has them all.
    package static var shortcoming: String? {
        if case .failure(let error) = handle { return "\(error)" }
        let missing = versions.filter { address(of: $0.key) == nil }
        guard !missing.isEmpty else { return nil }
        return missing.map { "libsystemd has no \($0.key), which came with systemd \($0.value)" }.joined(
            separator: "; ")
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

    /// Returns the time after which the manager ends this process if it is silent: sd_watchdog_enabled(3). `nil` without
    /// a watchdog for this process.
    package static func watchdogInterval(environment: [String: String]) throws(SystemdRefusal) -> Duration? {
        guard let text = environment["WATCHDOG_USEC"], !text.isEmpty else { return nil }
        do throws(SystemdError) {
            let function = try function("sd_watchdog_enabled", as: sd_watchdog_enabled_function.self)
            var microseconds: UInt64 = 0
            guard try check(function(0, &microseconds)) > 0 else { return nil }
            // From 0.1 s to a year: with less, the service would do little but send pings.
            guard (100_000...365 * 86_400 * 1_000_000).contains(microseconds) else { throw .failed(ERANGE) }
            return .microseconds(Int64(microseconds))
        } catch .failed {
            let processID = environment["WATCHDOG_PID"].map { " and WATCHDOG_PID “\($0)”" } ?? ""
            throw SystemdRefusal(
                "No watchdog: WATCHDOG_USEC is “\(text)”\(processID); expected microseconds, from 0.1 s to a year, and a "
                    + "process ID. If the unit has WatchdogSec=, the service manager will end this service because it "
                    + "sends no pings; correct WatchdogSec= or remove it.")
        } catch {
            // The library is missing or too old, which the service warns of once: `shortcoming`.
            return nil
        }
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

    /// The systemd version that added each function that a service needs; libsystemd itself came with 209.
    private static let versions: KeyValuePairs = [
        "sd_notify": 209, "sd_notify_barrier": 246, "sd_watchdog_enabled": 209, "sd_listen_fds_with_names": 227,
    ]

    private static let handle: Result<UInt, SystemdError> = {
        let name = "libsystemd.so.0"
        guard let pointer = dlopen(name, RTLD_NOW | RTLD_LOCAL) else {
            return .failure(.unusable("libsystemd cannot be loaded (\(dlerror().map { String(cString: $0) } ?? name))"))
        }
        return .success(UInt(bitPattern: pointer))
    }()

    /// `nil` if the library has no such function, or is not loaded.
    private static func address(of function: String) -> UnsafeMutableRawPointer? {
        guard case .success(let handle) = handle else { return nil }
        // dlopen(3)'s pointer, valid to the end of the process.
        return dlsym(UnsafeMutableRawPointer(bitPattern: handle), function)
    }

    static func function<Function>(_ name: String, as: Function.Type) throws(SystemdError) -> Function {
        _ = try handle.get()
        guard let address = address(of: name) else { throw .unusable("libsystemd has no \(name)") }
        // A C function pointer is as large as a data pointer on Linux: dlsym(3). The headers give its type (CSystemd).
        return unsafeBitCast(address, to: Function.self)
    }

    /// Libsystemd's convention: a negative `errno`, or a result.
    @discardableResult
    static func check(_ result: Int32) throws(SystemdError) -> Int32 {
        guard result >= 0 else { throw .failed(-result) }
        return result
    }
}

/// Why a call to libsystemd did not succeed.
package enum SystemdError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The library is missing, or older than the function.
    case unusable(String)
    /// An `errno`.
    case failed(Int32)

    package var description: String {
        switch self {
        case .unusable(let message): message
        case .failed(let code): String(cString: strerror(code))
        }
    }
}

/// Something that the service manager asks for, or has passed, makes no sense.
package struct SystemdRefusal: Error, Hashable, Sendable {
    package let message: String
    package let hint: String?

    init(_ message: String, hint: String? = nil) { (self.message, self.hint) = (message, hint) }
}
