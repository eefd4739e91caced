import CLibpq
import Synchronization

/// Collects the server's notices and hands them on.
final class NoticeReceiver: Sendable {
    private let handOn: @Sendable (ServerMessage) -> Void
    private let state = Mutex(State())

    private struct State {
        var secrets: [String] = []
        var warnings: [ServerMessage] = []
        var handedOn = 0
    }

    /// The most warnings of one script that are kept; later ones replace the first.
    static let mostWarnings = 16
    /// The most notices of one script that are handed on; the others are dropped.
    static let mostNotices = 64

    init(_ handOn: @escaping @Sendable (ServerMessage) -> Void) { self.handOn = handOn }

    /// Passwords, which a server that was given one may quote, and which are not repeated.
    var secrets: [String] { state.withLock(\.secrets) }

    /// The last WARNINGs since `begin`.
    var warnings: [ServerMessage] { state.withLock { $0.warnings } }

    func begin() { state.withLock { $0 = State(secrets: $0.secrets) } }

    /// libpq keeps a pointer to this object as long as the connection lives: the connection must own it.
    func register(on connection: OpaquePointer, hiding secrets: [String]) {
        state.withLock { $0.secrets = secrets }
        PQsetNoticeReceiver(
            connection,
            { context, raw in
                guard let context, let raw else { return }
                Unmanaged<NoticeReceiver>.fromOpaque(context).takeUnretainedValue().receive(raw)
            }, Unmanaged.passUnretained(self).toOpaque())
    }

    private func receive(_ raw: OpaquePointer) {
        // libpq hands notices out as soon as it sees them, and results in their turn: which came first is not known.
        guard let message = ServerMessage(raw, statementIndex: nil, secrets: secrets) else { return }
        let mayHandOn = state.withLock { state in
            if message.severity == .warning {
                // The last ones: COMMIT, whose warnings say that a commit may be lost, is a script's last statement.
                if state.warnings.count == Self.mostWarnings { state.warnings.removeFirst() }
                state.warnings.append(message)
            }
            state.handedOn += 1
            return state.handedOn <= Self.mostNotices
        }
        if mayHandOn { handOn(message) }
    }
}
