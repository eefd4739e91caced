import Glibc
import HTTPTypes
import HummingbirdCore
import Logging
import NIOCore
import NIOHTTPTypes
import NIOPosix
import ServiceLifecycle

/// Serves `Endpoints` over HTTP/1.1, on a thread of its own, so that a stuck scheduler is reported.
///
/// What clients send takes bounded memory and time: see `ConnectionLimits`. Between requests nothing wakes up.
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

    private typealias Connection = NIOAsyncChannel<HTTPRequestPart, HTTPResponsePart>

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

    /// Accepts connections until the graceful shutdown, then answers those that it has accepted:
    /// `ConnectionLimits.lastRequest`.
    ///
    /// - Throws: `ListenFailure`.
    package func run() async throws {
        let unixListener = try unixListener()
        defer { unixListener?.removePath() }
        let loop = MultiThreadedEventLoopGroup(numberOfThreads: 1).next()
        let limits = ConnectionLimits()
        let http = http(limits)
        let accepted = AsyncStream<Connection>.makeStream()
        let listener: any Channel
        do {
            listener = try await listen(on: loop, unixListener) { channel in
                http.setup(channel: channel, logger: Self.silent).map { _ = accepted.continuation.yield($0) }
            }
        } catch let error as IOError {
            throw ListenFailure(address: address, reason: .system(error.errnoCode))
        }
        // After the last connection: the event loop accepts and closes one after the other. NIO's own stream of connections
        // drops one that was accepted just before the close, and ends the process for it.
        listener.closeFuture.whenComplete { _ in accepted.continuation.finish() }
        await withGracefulShutdownHandler {
            await withTaskExecutorPreference(EventLoopExecutor(loop)) {
                onListening()
                await withDiscardingTaskGroup { group in
                    for await connection in accepted.stream {
                        group.addTask { await http.handle(value: connection, logger: Self.silent) }
                    }
                }
            }
        } onGracefulShutdown: {
            listener.close(promise: nil)
            limits.closeAll(on: loop)
        }
    }

    private func unixListener() throws(ListenFailure) -> UnixListener? {
        guard case .unix(let path) = address else { return nil }
        do {
            return try UnixListener(path: path)
        } catch {
            throw ListenFailure(address: address, reason: error)
        }
    }

    private func listen(
        on loop: any EventLoop, _ unixListener: UnixListener?,
        setUp: @escaping @Sendable (any Channel) -> EventLoopFuture<Void>
    ) async throws -> any Channel {
        let bootstrap = ServerBootstrap(group: loop)
            .serverChannelOption(.backlog, value: Self.backlog)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer(setUp)
        switch (address, unixListener) {
        case (.tcp(let host, let port), _):
            return try await bootstrap.bind(host: host, port: port).get()
        case (.passed(let descriptor, _, _), _):
            return try await bootstrap.withBoundSocket(descriptor).get()
        case (.unix, let listener?):
            return try await bootstrap.withBoundSocket(listener.descriptor).get()
        case (.unix, nil): preconditionFailure("run() binds the path first")
        }
    }

    private func http(_ limits: ConnectionLimits) -> HTTP1Channel {
        let isLoopback = address.isLoopback
        return HTTP1Channel(
            responder: { [endpoints] request, writer, _ in
                let answer: Endpoints.Answer
                if request.head.authority == nil || Self.hasSecondHost(request.head) {
                    answer = Self.hostNotNamedOnce
                } else if isLoopback && !Self.isLocal(request.head.authority) {
                    answer = Self.misdirected
                } else {
                    answer = await endpoints.answer(
                        method: request.method.rawValue, target: request.head.path ?? "")
                }
                let body = ResponseBody(byteBuffer: ByteBuffer(string: request.method == .head ? "" : answer.body))
                try await writer.write(response: answer.head, body: body)
            },
            configuration: .init(
                additionalChannelHandlers: [limits.handler()], idleTimeout: ConnectionLimits.lifetime,
                httpDecoderConfiguration: .init(
                    maxHeaderFieldSize: 8192, maxHeaderListSize: 16_384, maxHeaderFieldCount: 64)))
    }

    /// No connection is logged: an attacker could fill the log.
    private static let silent = Logger(label: "mcp-cleanupd.http") { _ in SwiftLogNoOpLogHandler() }

    // MARK: DNS rebinding

    /// True if the host of a request to a loopback address is a name that a person or a scraper on this machine would use.
    /// A web page whose DNS name was made to point at 127.0.0.1 sends that name.
    private static func isLocal(_ authority: String?) -> Bool {
        guard let authority, !authority.isEmpty else { return true }
        if authority.hasPrefix("[") { return true }
        let host = authority.prefix { $0 != ":" }
        return host.lowercased() == "localhost" || host.allSatisfy { $0.isASCII && $0.isNumber || $0 == "." }
    }

    /// True if the request has more than one `Host` header: the first one is not among its fields but its authority.
    private static func hasSecondHost(_ head: HTTPRequest) -> Bool {
        head.headerFields.contains { $0.name.canonicalName == "host" }
    }

    /// RFC 9112, section 3.2.
    private static let hostNotNamedOnce = Endpoints.Answer(400, "A request must have one Host header.")
    private static let misdirected = Endpoints.Answer(
        421,
        "The Host header names another host. Ask for localhost or an IP address, or set http.listen to the address that others reach."
    )
}

extension Endpoints.Answer {
    private static let referrerPolicy = HTTPField.Name("Referrer-Policy")
    private static let resourcePolicy = HTTPField.Name("Cross-Origin-Resource-Policy")

    fileprivate var head: HTTPResponse {
        var fields: HTTPFields = [
            .contentType: contentType, .contentLength: "\(body.utf8.count)", .cacheControl: "no-store",
            .contentSecurityPolicy: contentPolicy, .xContentTypeOptions: "nosniff", .connection: "close",
        ]
        if let name = Self.referrerPolicy { fields[name] = "no-referrer" }
        if let name = Self.resourcePolicy { fields[name] = "same-origin" }
        if status == 405 { fields[.allow] = "GET, HEAD" }
        return HTTPResponse(status: .init(code: status), headerFields: fields)
    }
}

/// Runs tasks on the event loop's thread, which has their sockets: a change to another thread and back would cost each
/// request more than its answer.
private final class EventLoopExecutor: TaskExecutor {
    private let loop: any EventLoop

    init(_ loop: any EventLoop) { self.loop = loop }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        loop.execute { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}
