import Glibc
import NIOCore
import NIOPosix
import ServiceLifecycle
package import Time

/// Serves `Endpoints` over HTTP/1.1, on a thread of its own, so that a stuck scheduler is reported.
///
/// Clients' requests take bounded memory and time: see `Connections`. Between requests nothing wakes up.
package struct StatusServer: Service {
    private let address: ListenAddress
    private let listener: any Channel
    private let connections = Connections()

    /// Connections that may wait to be accepted, as with systemd's own default. While a service restarts, the socket that
    /// systemd keeps holds the scrapes of that time.
    private static let backlog: Int32 = 4096

    /// Listens on the address. The file of a Unix socket is created, and removed at the end.
    ///
    /// - Parameter passed: a listening socket at this address that another process made, if there is one.
    /// - Throws: `ListenFailure`.
    package init(at address: ListenAddress, passed: Int32?, _ endpoints: Endpoints) async throws {
        self.address = address
        let connections = connections
        let loop = MultiThreadedEventLoopGroup(numberOfThreads: 1).next()
        let bootstrap = ServerBootstrap(group: loop)
            .serverChannelOption(.backlog, value: Self.backlog)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    connections.add(channel)
                    let isLoopback = address.isLoopback
                    try RequestHandler.add(to: channel) { await endpoints.answer($0, isLoopback: isLoopback) }
                }
            }
        do {
            listener =
                switch (address, passed) {
                case (_, let descriptor?): try await bootstrap.withBoundSocket(descriptor).get()
                case (.tcp(let host, let port), nil): try await bootstrap.bind(host: host, port: port).get()
                case (.unix(let path), nil): try await Self.bind(bootstrap, to: path, loop)
                }
        } catch let error as IOError {
            throw ListenFailure(address: address, code: error.errnoCode)
        }
    }

    /// Accepts connections until the graceful shutdown, then answers those that it has accepted: `Connections.end`.
    /// - Throws: `ListenFailure` if the system has closed the listener before.
    package func run() async throws {
        try await withTaskCancellationOrGracefulShutdownHandler {
            try await listener.closeFuture.flatMap { connections.end(on: listener.eventLoop) }.get()
        } onCancelOrGracefulShutdown: {
            listener.close(promise: nil)
        }
        guard Task.isShuttingDownGracefully || Task.isCancelled else {
            throw ListenFailure(address: address, code: ECONNABORTED)
        }
    }

    /// The umask decides which users may connect: that takes write permission on the socket.
    private static func bind(
        _ bootstrap: ServerBootstrap, to path: String, _ loop: any EventLoop
    ) async throws -> any Channel {
        /// The path's device and inode; `nil` if it does not exist.
        @Sendable func file() -> [UInt64]? {
            var status = stat()
            return lstat(path, &status) == 0 ? [UInt64(status.st_dev), UInt64(status.st_ino)] : nil
        }
        try await removeStaleSocket(at: path, loop)
        let listener = try await bootstrap.bind(unixDomainSocketPath: path).get()
        let ours = file()
        // The file is removed unless another process has replaced it since.
        listener.closeFuture.whenComplete { _ in if file() == ours { unlink(path) } }
        return listener
    }

    /// Removes a socket that no process listens on any more. Throws if the path is something else, or in use.
    private static func removeStaleSocket(at path: String, _ loop: any EventLoop) async throws {
        var status = stat()
        // No file, and nothing to remove; or an error that binding will meet too.
        guard lstat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFSOCK else { throw ListenFailure(address: .unix(path: path), code: nil) }
        do {
            let probe = try await ClientBootstrap(group: loop).connect(unixDomainSocketPath: path).get()
            probe.close(promise: nil)
        } catch let error as IOError where error.errnoCode == ECONNREFUSED {
            guard unlink(path) == 0 || errno == ENOENT else { throw IOError(errnoCode: errno, reason: "unlink") }
            return
        } catch let error as IOError where error.errnoCode == EAGAIN {
            // Its queue of connections is full, so a process listens: connect(2).
        }
        throw IOError(errnoCode: EADDRINUSE, reason: "connect")
    }
}

/// The address could not be listened on.
package struct ListenFailure: Error, CustomStringConvertible {
    let address: ListenAddress
    /// The `errno`; `nil` if a Unix socket's path exists and is no socket.
    let code: Int32?

    /// True if it may pass by itself: another process has the address now; no interface has it yet, as while a machine
    /// boots; or the system has closed the listener (`ECONNABORTED`).
    package var mayPass: Bool { [EADDRINUSE, EADDRNOTAVAIL, ECONNABORTED].contains(code) }

    package var description: String {
        if code == ECONNABORTED { return "the system has closed the listener at \(address)" }
        let reason = code.map { String(cString: strerror($0)) } ?? "the path exists and is no socket"
        return "cannot listen on \(address): \(reason)"
    }

    /// The remedy, for the operator.
    package var hint: String {
        switch (code, address) {
        case (ECONNABORTED, _): "Start the service again, as its unit does."
        case (nil, _): "Remove it, or set http.listen to another path."
        case (ENOENT, .unix): "Make the directory, or set http.listen to a path in one that exists."
        case (EACCES, .unix): "Set http.listen to a path in a directory that the service may write to."
        case (_, .unix): "Set http.listen to another path, or to off."
        case (_, .tcp): "Set http.listen to another address and port, or to off."
        }
    }
}
