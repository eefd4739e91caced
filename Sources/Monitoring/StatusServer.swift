import Glibc
import NIOCore
import NIOHTTP1
import NIOPosix
import ServiceLifecycle

/// Serves `Endpoints` over HTTP/1.1, on a thread of its own, so that a stuck scheduler is reported.
///
/// What clients send takes bounded memory and time: see `Connections`. Between requests nothing wakes up.
package struct StatusServer: Service, CustomStringConvertible {
    package enum Address: Hashable, Sendable, CustomStringConvertible {
        /// An IP address, without brackets, and a port; port 0 is a free one.
        case tcp(host: String, port: Int)
        /// The absolute path of a Unix socket, which is made at the start and removed at the end.
        case unix(path: String)
        /// A listening socket that another process made; `name` is its address, for messages.
        case passed(descriptor: Int32, name: String, isLoopback: Bool)

        package var description: String {
            switch self {
            case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
            case .unix(let path): "unix:\(path)"
            case .passed(_, let name, _): name
            }
        }

        /// True if only programs of this machine reach it over IP: a web page could then name it by a DNS name of its own.
        fileprivate var isLoopback: Bool {
            switch self {
            case .tcp(let host, _): host.hasPrefix("127.") || host == "::1"
            case .unix: false
            case .passed(_, _, let isLoopback): isLoopback
            }
        }
    }

    /// Connections that may wait to be accepted, as with systemd's own default. While a service restarts, the socket that
    /// systemd keeps holds the scrapes of that time.
    private static let backlog: Int32 = 4096

    private let address: Address
    private let endpoints: Endpoints
    private let onListening: @Sendable () -> Void

    /// - Parameter onListening: called once connections are accepted.
    package init(address: Address, endpoints: Endpoints, onListening: @escaping @Sendable () -> Void) {
        self.address = address
        self.endpoints = endpoints
        self.onListening = onListening
    }

    /// Short: the service group puts it into its messages.
    package var description: String { "http" }

    /// Accepts connections until the graceful shutdown, then answers those that it has accepted: `Connections.end`.
    ///
    /// - Throws: `ListenFailure`.
    package func run() async throws {
        let loop = MultiThreadedEventLoopGroup(numberOfThreads: 1).next()
        let connections = Connections()
        let listener: any Channel
        do {
            listener = try await listen(on: loop, connections)
        } catch let error as IOError {
            throw ListenFailure(address: address, code: error.errnoCode)
        }
        let end = listener.closeFuture.flatMap { connections.end(on: loop) }
        try await withTaskCancellationOrGracefulShutdownHandler {
            onListening()
            try await end.get()
        } onCancelOrGracefulShutdown: {
            listener.close(promise: nil)
        }
    }

    private func listen(on loop: any EventLoop, _ connections: Connections) async throws -> any Channel {
        var limits = NIOHTTPDecoderLimitConfiguration()
        (limits.maxHeaderFieldSize, limits.maxHeaderListSize, limits.maxHeaderFieldCount) = (8192, 16_384, 64)
        let bootstrap = ServerBootstrap(group: loop)
            .serverChannelOption(.backlog, value: Self.backlog)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { [limits] channel in
                channel.eventLoop.makeCompletedFuture {
                    connections.add(channel)
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.configureHTTPServerPipeline(
                        withPipeliningAssistance: false, withErrorHandling: false, withEncoderConfiguration: .init(),
                        withDecoderLimitConfiguration: limits)
                    try pipeline.addHandler(RequestHandler { await answer($0) })
                }
            }
        switch address {
        case .tcp(let host, let port): return try await bootstrap.bind(host: host, port: port).get()
        case .passed(let descriptor, _, _): return try await bootstrap.withBoundSocket(descriptor).get()
        case .unix(let path):
            try await removeStaleSocket(at: path, loop)
            // The umask decides who may connect: write permission is needed.
            let listener = try await bootstrap.bind(unixDomainSocketPath: path).get()
            let file = Self.file(at: path)
            // Unless another process has replaced it since.
            listener.closeFuture.whenComplete { _ in if Self.file(at: path) == file { unlink(path) } }
            return listener
        }
    }

    /// Removes a socket that no process listens on any more. What is no socket is left alone.
    private func removeStaleSocket(at path: String, _ loop: any EventLoop) async throws {
        var status = stat()
        // Where the path cannot be looked at, it cannot be bound either, for the same cause.
        guard lstat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFSOCK else { throw ListenFailure(address: address, code: nil) }
        do {
            try await ClientBootstrap(group: loop).connect(unixDomainSocketPath: path).get().close().get()
        } catch let error as IOError where error.errnoCode == ECONNREFUSED {
            guard unlink(path) == 0 || errno == ENOENT else { throw IOError(errnoCode: errno, reason: "unlink") }
            return
        } catch let error as IOError where error.errnoCode == EAGAIN {
            // Its queue of connections is full, so a process listens: connect(2).
        }
        throw IOError(errnoCode: EADDRINUSE, reason: "connect")
    }

    /// The path's device and inode; `nil` if it does not exist.
    private static func file(at path: String) -> [UInt64]? {
        var status = stat()
        return lstat(path, &status) == 0 ? [UInt64(status.st_dev), UInt64(status.st_ino)] : nil
    }

    // MARK: Requests

    private func answer(_ request: HTTPRequestHead) async -> Endpoints.Answer {
        let hosts = request.headers["Host"]
        guard let host = hosts.first, hosts.count == 1 else {
            // RFC 9112, section 3.2.
            return Endpoints.Answer(400, "A request must have one Host header.")
        }
        guard !address.isLoopback || Self.isLocal(host) else {
            return Endpoints.Answer(
                421,
                "The Host header names another host. Ask for localhost or an IP address, or set http.listen to the address that others reach."
            )
        }
        return await endpoints.answer(method: request.method.rawValue, target: request.uri)
    }

    /// True if the host of a request to a loopback address is a name that a person or a scraper on this machine would use.
    /// A web page whose DNS name was made to point at 127.0.0.1 sends that name.
    private static func isLocal(_ authority: String) -> Bool {
        if authority.isEmpty || authority.hasPrefix("[") { return true }
        let host = authority.prefix { $0 != ":" }
        return host.lowercased() == "localhost" || host.allSatisfy { $0.isASCII && $0.isNumber || $0 == "." }
    }
}

extension Endpoints.Answer {
    var head: HTTPResponseHead {
        var headers: HTTPHeaders = [
            "Content-Type": contentType, "Content-Length": "\(body.utf8.count)", "Cache-Control": "no-store",
            "Content-Security-Policy": contentPolicy, "X-Content-Type-Options": "nosniff", "Connection": "close",
            "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
        ]
        if status == 405 { headers.add(name: "Allow", value: "GET, HEAD") }
        return HTTPResponseHead(version: .http1_1, status: HTTPResponseStatus(statusCode: status), headers: headers)
    }
}

/// The address could not be listened on.
package struct ListenFailure: Error, CustomStringConvertible {
    let address: StatusServer.Address
    /// An `errno`; `nil` where something that is no socket has the path of a Unix socket.
    let code: Int32?

    /// True if it may pass by itself: another process has the address now, or no interface has it yet, as while a machine
    /// boots.
    package var mayPass: Bool { [EADDRINUSE, EADDRNOTAVAIL].contains(code) }

    package var description: String {
        let reason = code.map { String(cString: strerror($0)) } ?? "the path exists and is no socket"
        return "cannot listen on \(address): \(reason)"
    }

    /// What to do about it.
    package var hint: String {
        switch (code, address) {
        case (nil, _): "Remove it, or set http.listen to another path."
        case (ENOENT, .unix): "Make the directory, or set http.listen to a path in one that exists."
        case (EACCES, .unix): "Set http.listen to a path in a directory that the service may write to."
        case (_, .unix): "Set http.listen to another path, or to off."
        case (_, .tcp), (_, .passed): "Set http.listen to another address and port, or to off."
        }
    }
}
