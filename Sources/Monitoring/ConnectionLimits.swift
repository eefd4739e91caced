import HTTPTypes
import NIOCore
import NIOHTTPTypes
import Synchronization

/// Bounds what one connection may take, and all of them together.
///
/// A connection carries one request and lasts 10 s at most. When there are too many, the oldest is closed, so that a client
/// that fills them up with slow requests cannot keep a health check out.
final class ConnectionLimits: Sendable {
    /// The longest time from accepting a connection to its close. A scrape takes milliseconds.
    static let lifetime = TimeAmount.seconds(10)
    /// The longest time that an accepted connection is kept after the service was asked to stop. A scraper sends its request
    /// within milliseconds of connecting; closing at once would lose it.
    static let lastRequest = TimeAmount.seconds(1)
    /// Connections at a time: a few megabytes, and far below the usual limit of 1,024 descriptors.
    static let maximum = 64
    /// Bytes of a body that are read and dropped, so that the client sees its answer. No request here has a body.
    fileprivate static let maximumBody = 16_384

    /// Oldest first.
    private let open = Mutex<[any Channel]>([])

    /// Closes what is still open after `lastRequest`.
    func closeAll(on loop: any EventLoop) {
        loop.scheduleTask(in: Self.lastRequest) {
            for channel in self.open.withLock(\.self) { channel.close(promise: nil) }
        }
    }

    func handler() -> some RemovableChannelHandler { ConnectionGuard(limits: self) }

    fileprivate func opened(_ channel: any Channel) {
        let oldest: (any Channel)? = open.withLock { open in
            open.append(channel)
            return open.count > Self.maximum ? open.removeFirst() : nil
        }
        oldest?.close(promise: nil)
    }

    fileprivate func closed(_ channel: any Channel) {
        open.withLock { $0.removeAll { $0 === channel } }
    }
}

/// Holds one connection to the limits. Runs on its connection's event loop.
private final class ConnectionGuard: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private let limits: ConnectionLimits
    private var end: Scheduled<Void>?
    private var bodyBytes = 0
    private var hasRequest = false

    init(limits: ConnectionLimits) { self.limits = limits }

    func handlerAdded(context: ChannelHandlerContext) {
        let channel = context.channel
        limits.opened(channel)
        end = context.eventLoop.scheduleTask(in: ConnectionLimits.lifetime) { channel.close(promise: nil) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        end?.cancel()
        limits.closed(context.channel)
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head:
            // A second request before the first is answered: its client has not waited for `Connection: close`.
            guard !hasRequest else { return context.close(promise: nil) }
            hasRequest = true
            context.fireChannelRead(data)
        case .body(let bytes):
            bodyBytes += bytes.readableBytes
            if bodyBytes > ConnectionLimits.maximumBody { context.close(promise: nil) }
        case .end:
            context.fireChannelRead(data)
        }
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard case .end = unwrapOutboundIn(data) else { return context.write(data, promise: promise) }
        let channel = context.channel
        context.writeAndFlush(data).whenComplete { _ in channel.close(mode: .output, promise: nil) }
        promise?.succeed()
    }
}
