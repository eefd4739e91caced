import NIOCore
import NIOHTTP1
import Synchronization

/// The open connections, bounded in number and time.
///
/// When there are too many, the oldest is closed, so that a client that fills them up with slow requests cannot keep a
/// health check out.
final class Connections: Sendable {
    /// The longest time from accepting a connection to its close. A scrape takes milliseconds.
    private static let lifetime = TimeAmount.seconds(10)
    /// The longest time that an accepted connection is kept after the service was asked to stop. A scraper sends its request
    /// within milliseconds of connecting; closing at once would lose it.
    private static let lastRequest = TimeAmount.seconds(1)
    /// The limit of open connections: a few megabytes, and far below the usual limit of 1,024 descriptors.
    private static let maximum = 64

    /// Oldest first.
    private let open = Mutex<[any Channel]>([])

    func add(_ channel: any Channel) {
        let oldest: (any Channel)? = open.withLock { open in
            open.append(channel)
            return open.count > Self.maximum ? open.removeFirst() : nil
        }
        oldest?.close(promise: nil)
        let end = channel.eventLoop.scheduleTask(in: Self.lifetime) { channel.close(promise: nil) }
        channel.closeFuture.whenComplete { _ in
            end.cancel()
            self.open.withLock { $0.removeAll { $0 === channel } }
        }
    }

    /// Waits until all connections are closed, by themselves or after `lastRequest`. None is added any more.
    func end(on loop: any EventLoop) -> EventLoopFuture<Void> {
        let last = open.withLock(\.self)
        let end = loop.scheduleTask(in: Self.lastRequest) {
            for channel in last { channel.close(promise: nil) }
        }
        return EventLoopFuture.andAllComplete(last.map(\.closeFuture), on: loop).always { _ in end.cancel() }
    }
}

/// Answers the one request that a connection may carry. Runs on the connection's event loop.
final class RequestHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart

    /// Bytes of a body that are read and dropped, so that the client sees its answer. No request here has a body.
    private static let maximumBody = 16_384

    typealias Answer = @Sendable (HTTPRequestHead) async -> Endpoints.Answer

    private let answer: Answer
    private var hasRequest = false
    private var bodyBytes = 0

    private init(answer: @escaping Answer) { self.answer = answer }

    /// Makes the connection one of HTTP/1.1, with headers of 16 KB at most.
    static func add(to channel: any Channel, answer: @escaping Answer) throws {
        var limits = NIOHTTPDecoderLimitConfiguration()
        (limits.maxHeaderFieldSize, limits.maxHeaderListSize, limits.maxHeaderFieldCount) = (8192, 16_384, 64)
        let pipeline = channel.pipeline.syncOperations
        try pipeline.configureHTTPServerPipeline(
            withPipeliningAssistance: false, withErrorHandling: false, withEncoderConfiguration: .init(),
            withDecoderLimitConfiguration: limits)
        try pipeline.addHandler(RequestHandler(answer: answer))
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let request):
            // A second request: its client has not waited for `Connection: close`.
            guard !hasRequest else { return context.close(promise: nil) }
            hasRequest = true
            send(to: request, on: context.channel)
        case .body(let bytes):
            bodyBytes += bytes.readableBytes
            if bodyBytes > Self.maximumBody { context.close(promise: nil) }
        case .end: break
        }
    }

    private func send(to request: HTTPRequestHead, on channel: any Channel) {
        Task(executorPreference: EventLoopExecutor(loop: channel.eventLoop)) { [answer] in
            // The task ends by itself: no answer takes longer than the bounded question to the scheduler's loop.
            let answer = await answer(request)
            let body = request.method == .HEAD ? "" : answer.body
            sendLast(answer.head, body, on: channel)
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        // The client has closed its side: one that has sent a request still waits for the answer.
        if event as? ChannelEvent == .inputClosed, !hasRequest { context.close(promise: nil) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // The request was read: an error in the bytes after it does not matter to its answer.
        guard !hasRequest else { return }
        hasRequest = true
        let headers: HTTPHeaders = ["Connection": "close", "Content-Length": "0"]
        sendLast(HTTPResponseHead(version: .http1_1, status: .badRequest, headers: headers), "", on: context.channel)
    }
}

/// Sends an answer, and nothing after it.
private func sendLast(_ head: HTTPResponseHead, _ body: String, on channel: any Channel) {
    channel.write(HTTPServerResponsePart.head(head), promise: nil)
    channel.write(HTTPServerResponsePart.body(.byteBuffer(ByteBuffer(string: body))), promise: nil)
    channel.writeAndFlush(HTTPServerResponsePart.end(nil)).whenComplete { _ in
        channel.close(mode: .output, promise: nil)
    }
}

/// Runs tasks on the event loop's thread, which has their sockets: a change to another thread and back would cost each
/// request more than its answer.
private final class EventLoopExecutor: TaskExecutor {
    private let loop: any EventLoop

    init(loop: any EventLoop) { self.loop = loop }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        loop.execute { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}
