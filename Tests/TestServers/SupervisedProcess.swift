import Foundation
import Glibc

/// A server that ends with the tests, also if they crash.
///
/// A shell starts the server and reads from a pipe whose other end the tests hold. When the tests end, even by SIGKILL,
/// the kernel closes the pipe, and the shell ends the server.
package final class SupervisedProcess: @unchecked Sendable {
    // Sendable: Foundation's Process is set up once, here; afterwards only thread-safe members are used.
    private let process = Process()
    private let pipe = Pipe()
    package let logPath: String

    /// - Parameters:
    ///   - command: the server and its arguments; must stay in the foreground.
    ///   - logPath: where its output goes.
    ///   - stopSignal: what ends it in an orderly way.
    package init(_ command: [String], logPath: String, stopSignal: String = "TERM") throws {
        self.logPath = logPath
        // Only the server's process is signaled: `kill 0` would end the tests too. The shell closes the output that it
        // inherited, because the test runner waits until no process has it open. The `sleep` is killed, because it would
        // keep Foundation's pipe open for 10 s.
        let script = """
            exec >>"$LOG" 2>&1
            "$@" </dev/null &
            server=$!
            cat >/dev/null
            kill -CONT $server; kill -\(stopSignal) $server
            (
                trap 'kill $timer; exit' TERM
                sleep 10 & timer=$!
                wait
                kill -KILL $server
            ) >/dev/null 2>&1 &
            last=$!
            wait $server
            kill $last
            """
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = ["-c", script, "supervisor"] + command
        process.environment = ProcessInfo.processInfo.environment.merging(["LOG": logPath, "LC_ALL": "C.UTF-8"]) { $1 }
        process.standardInput = pipe
        // Otherwise a child started meanwhile holds the pipe open.
        _ = fcntl(pipe.fileHandleForWriting.fileDescriptor, F_SETFD, FD_CLOEXEC)
        try process.runWithSignals()
    }

    /// Ends the server and waits for its end.
    package func stop() {
        closePipe()
        process.waitUntilExit()
    }

    /// Makes the shell end the server, and does not wait for that: it would block a thread that other tests need.
    deinit {
        closePipe()
    }

    private func closePipe() {
        do {
            try pipe.fileHandleForWriting.close()
        } catch {
            // Closed before.
        }
    }
}

extension Process {
    /// Starts the program with no signal blocked. A child inherits the signal mask of the thread that starts it, and threads
    /// of Swift and Dispatch block nearly all signals: a server would ignore SIGTERM.
    package func runWithSignals() throws {
        var none = sigset_t()
        sigemptyset(&none)
        var before = sigset_t()
        pthread_sigmask(SIG_SETMASK, &none, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        try run()
    }
}

package enum Loopback {
    /// Returns a TCP port of 127.0.0.1 that is free now, and that no other call of this process returns.
    package static func freePort() throws -> Int {
        let (descriptor, port) = try bound()
        close(descriptor)
        return port
    }

    /// Returns a socket that is bound to such a port, which the caller has to close.
    package static func bound() throws -> (Int32, port: Int) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        for _ in 0..<1000 {
            let port = next.withLock { next in
                next = next == ports.upperBound ? ports.lowerBound : next + 1
                return next
            }
            if withAddress(port: port, { bind(descriptor, $0, $1) }) == 0 { return (descriptor, port) }
        }
        close(descriptor)
        throw TestServerError("no free port from \(ports.lowerBound) to \(ports.upperBound)")
    }

    /// Calls the body with an IPv4 address of this machine.
    static func withAddress(
        host: UInt32 = 0x7F00_0001, port: Int, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Int32 {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = host.bigEndian
        address.sin_port = UInt16(port).bigEndian
        // The pointer is the body's for the call only; a sockaddr_in is what AF_INET says a sockaddr is: ip(7).
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
    }

    /// Ports below ip_local_port_range, from which the kernel gives a port to each client: it could take one before the
    /// server listens on it. Counted up from a random start, so that no two servers of a process get the same.
    private static let ports = 15_000...32_000
    private static let next = Locked(Int.random(in: ports))
}
