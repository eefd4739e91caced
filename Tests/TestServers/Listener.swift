import Foundation
import Glibc

/// A TCP port of 127.0.0.1 that treats its clients as a test wants.
package final class Listener: Sendable {
    package let port: Int
    private let listening: OpenSocket
    /// The sockets of clients, and those that keep the accept queue full.
    private let kept = Locked<[OpenSocket]>([])

    /// - Parameters:
    ///   - host: an IPv4 address of this machine, in the host's byte order.
    ///   - port: a free port unless given.
    ///   - serve: called with the socket of each client, on a thread per client. The socket is shut down with the listener,
    ///     and closed when this has returned too.
    package convenience init(
        on host: UInt32 = 0x7F00_0001, port: Int? = nil, serve: @escaping @Sendable (Int32) -> Void
    ) throws {
        try self.init(backlog: 100, host: host, port: port)
        let (listening, kept) = (listening, kept)
        // Not Dispatch's threads, of which a process has 255 at most: waiting ones would leave none to others.
        Thread.detachNewThread {
            while let visitor = listening.accepted() {
                kept.withLock { $0.append(visitor) }
                Thread.detachNewThread { visitor.use(serve) }
            }
        }
    }

    /// Drops packets: while the accept queue is full, Linux ignores each SYN, as a network without a route back does.
    package convenience init(swallowing: Void) throws {
        try self.init(backlog: 0)
        for _ in 0..<3 {
            let visitor = OpenSocket(flags: Int32(SOCK_NONBLOCK.rawValue))
            kept.withLock { $0.append(visitor) }
            _ = visitor.use { visitor in Loopback.withAddress(port: port) { connect(visitor, $0, $1) } }
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
        listening.shutDown()
        for visitor in kept.withLock({ $0 }) { visitor.shutDown() }
    }

    private init(backlog: Int32, host: UInt32 = 0x7F00_0001, port: Int? = nil) throws {
        if let port {
            (listening, self.port) = (OpenSocket(), port)
            try listening.use { socket in
                try Self.check(Loopback.withAddress(host: host, port: port) { bind(socket, $0, $1) })
            }
        } else {
            let (socket, port) = try Loopback.bound()
            (listening, self.port) = (OpenSocket(socket), port)
        }
        try listening.use { try Self.check(listen($0, backlog)) }
    }

    private static func check(_ result: Int32) throws {
        guard result == 0 else { throw TestServerError("cannot listen: \(String(cString: strerror(errno)))") }
    }
}

/// A TCP socket that is closed when its last user has released it. If it were closed while a thread still used its
/// number, that thread would use the socket that gets the number next.
private final class OpenSocket: Sendable {
    private let descriptor: Int32

    init(_ descriptor: Int32) {
        self.descriptor = descriptor
    }

    convenience init(flags: Int32 = 0) {
        self.init(socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | flags, 0))
    }

    /// Waits for a client; `nil` after `shutDown()`.
    func accepted() -> OpenSocket? {
        let visitor = accept(descriptor, nil, nil)
        return visitor >= 0 ? OpenSocket(visitor) : nil
    }

    func use<Result>(_ body: (Int32) throws -> Result) rethrows -> Result {
        try body(descriptor)
    }

    /// Ends all waiting on this socket.
    func shutDown() {
        shutdown(descriptor, Int32(SHUT_RDWR))
    }

    deinit {
        close(descriptor)
    }
}
