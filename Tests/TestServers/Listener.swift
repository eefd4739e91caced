import Foundation
import Glibc

/// A TCP port of 127.0.0.1 that treats its clients as a test wants.
package final class Listener: Sendable {
    package let port: Int
    private let descriptor: Int32
    /// The sockets of clients, and those that keep a full queue full.
    private let kept = Locked<[Int32]>([])

    /// - Parameters:
    ///   - host: an IPv4 address of this machine, in the host's byte order.
    ///   - port: a free port unless given.
    ///   - serve: called with the socket of each client, on a thread per client; the socket is closed with the listener.
    package init(
        on host: UInt32 = 0x7F00_0001, port: Int? = nil, serve: @escaping @Sendable (Int32) -> Void
    ) throws {
        (descriptor, self.port) = try Self.bound(host: host, port: port, backlog: 100)
        let (descriptor, kept) = (descriptor, kept)
        // Not Dispatch's threads, of which a process has 255 at most: one that waits in vain would keep others from theirs.
        Thread.detachNewThread {
            while true {
                let visitor = accept(descriptor, nil, nil)
                guard visitor >= 0 else { return }
                kept.withLock { $0.append(visitor) }
                Thread.detachNewThread { serve(visitor) }
            }
        }
    }

    /// Drops packets: while the accept queue is full, Linux ignores each SYN, as a network without a route back does.
    package init(swallowing: Void) throws {
        (descriptor, port) = try Self.bound(backlog: 0)
        for _ in 0..<3 {
            let visitor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
            kept.withLock { $0.append(visitor) }
            _ = Loopback.withAddress(port: port) { connect(visitor, $0, $1) }
        }
    }

    /// True if a client has connected.
    package var hasVisitor: Bool { kept.withLock { !$0.isEmpty } }

    package static func silent() throws -> Listener { try Listener { _ in } }

    package static func saying(_ bytes: [UInt8], forever: [UInt8] = []) throws -> Listener {
        try Listener { visitor in
            var request = [UInt8](repeating: 0, count: 1024)
            _ = read(visitor, &request, request.count)
            _ = send(visitor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
            while !forever.isEmpty, send(visitor, forever, forever.count, Int32(MSG_NOSIGNAL)) > 0 {}
            shutdown(visitor, Int32(SHUT_RDWR))
        }
    }

    deinit {
        // Wakes accept(2), which close(2) does not.
        shutdown(descriptor, Int32(SHUT_RDWR))
        close(descriptor)
        for visitor in kept.withLock({ $0 }) {
            shutdown(visitor, Int32(SHUT_RDWR))
            close(visitor)
        }
    }

    private static func bound(
        host: UInt32 = 0x7F00_0001, port: Int? = nil, backlog: Int32
    ) throws -> (Int32, Int) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        let port = try port ?? Loopback.freePort()
        guard Loopback.withAddress(host: host, port: port, { bind(descriptor, $0, $1) }) == 0,
            listen(descriptor, backlog) == 0
        else {
            throw TestServerError("cannot listen: \(String(cString: strerror(errno)))")
        }
        return (descriptor, port)
    }
}
