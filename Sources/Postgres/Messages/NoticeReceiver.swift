import CLibpq
import Synchronization

/// Collects the server's notices and hands them on.
final class NoticeReceiver: Sendable {
    private let handOn: @Sendable (ServerMessage) -> Void
    private let state = Mutex(State())

    private struct State {
        var warnings: [ServerMessage] = []
        var handedOn = 0
    }

    /// The most warnings of one statement or script that are kept; later ones replace the first.
    static let mostWarnings = 16
    /// The most notices of one statement or script that are handed on; the others are dropped.
    static let mostNotices = 64

    private let secrets: [String]

    /// - Parameter secrets: passwords, none of which is repeated.
    init(secrets: [String], _ handOn: @escaping @Sendable (ServerMessage) -> Void) {
        self.secrets = secrets
        self.handOn = handOn
    }

    /// The last WARNINGs since `begin`.
    var warnings: [ServerMessage] { state.withLock { $0.warnings } }

    /// Forgets what an earlier statement brought.
    func begin() { state.withLock { $0 = State() } }

    /// libpq keeps a pointer to this object as long as the connection lives: the connection must own it.
    func register(on connection: OpaquePointer) {
        PQsetNoticeReceiver(
            connection,
            { context, raw in
                guard let context, let raw else { return }
                Unmanaged<NoticeReceiver>.fromOpaque(context).takeUnretainedValue().receive(raw)
            }, Unmanaged.passUnretained(self).toOpaque())
    }

    private func receive(_ raw: OpaquePointer) {
        let mayHandOn = state.withLock { state in
            state.handedOn += 1
            return state.handedOn <= Self.mostNotices
        }
        // libpq hands notices out as soon as it sees them, and results in their turn: which came first is not known.
        guard let message = ServerMessage(raw, statementIndex: nil, secrets: secrets) else { return }
        if message.severity == .warning {
            state.withLock { state in
                // The last ones: COMMIT, whose warnings say that a commit may be lost, is a script's last statement.
                if state.warnings.count == Self.mostWarnings { state.warnings.removeFirst() }
                state.warnings.append(message)
            }
        }
        if mayHandOn { handOn(message) }
    }
}
