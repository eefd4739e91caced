import CLibpq

/// A connection of libpq's, with the notices that came on it. It is closed when its last reference is released.
final class LibpqConnection: @unchecked Sendable {
    // Used by one thread at a time: by the attempt's step, and by the connection between two steps and after them.
    let pointer: OpaquePointer
    /// Passwords, which are kept out of all messages: a server that was given one may quote it.
    let secrets: [String]
    /// The last WARNINGs since `forgetNotices`.
    private(set) var warnings: [ServerMessage] = []
    private var noticeCount = 0
    private let onNotice: @Sendable (ServerMessage) -> Void

    /// The most warnings of one script that are kept; later ones replace the first.
    static let mostWarnings = 16
    /// The most notices of one script that are handed on; the others are dropped.
    static let mostNotices = 64

    /// Begins to connect, for which libpq may read files without a limit. `nil` when libpq is out of memory.
    init?(_ parameters: ConnectionParameters, onNotice: @escaping @Sendable (ServerMessage) -> Void) {
        guard let pointer = parameters.withCStrings({ PQconnectStartParams($0, $1, 0) }) else { return nil }
        self.pointer = pointer
        self.onNotice = onNotice
        // PQpass also returns a password that libpq found in a file; its text is copied at once.
        secrets = parameters.secrets + [PQpass(pointer)].compactMap { $0.map { String(cString: $0) } }
        PQsetErrorVerbosity(pointer, PQERRORS_VERBOSE)
        PQsetNoticeReceiver(
            pointer,
            { context, raw in
                guard let context, let raw else { return }
                Unmanaged<LibpqConnection>.fromOpaque(context).takeUnretainedValue().receive(raw)
            }, Unmanaged.passUnretained(self).toOpaque())
    }

    deinit {
        // From here on there is no object that could receive a notice.
        PQsetNoticeReceiver(pointer, { _, _ in }, nil)
        PQfinish(pointer)
    }

    /// libpq's last message about the connection, without line ends at its end and without passwords. Cut to a bound,
    /// since a server that does not speak the protocol can get a text of any length into it.
    var message: String {
        // More than two refusals need, each with the longest message that is shown and its labels.
        let longest = 4 * ServerMessage.longestText
        var text = String(beginningOf: PQerrorMessage(pointer), upTo: longest, hiding: secrets)[...]
        while text.last?.isNewline == true { text.removeLast() }
        return text.isEmpty ? "no reason given" : String(text)
    }

    func forgetNotices() { (warnings, noticeCount) = ([], 0) }

    private func receive(_ raw: OpaquePointer) {
        // libpq hands out notices at once, and results in their turn: which statement a notice is from is not known.
        guard let message = ServerMessage(raw, statementIndex: nil, secrets: secrets) else { return }
        if message.severity == .warning {
            // The last ones stay: COMMIT, whose warnings say that a commit may be lost, is a script's last statement.
            warnings = warnings.suffix(Self.mostWarnings - 1) + [message]
        }
        noticeCount += 1
        if noticeCount <= Self.mostNotices { onNotice(message) }
    }

    /// Frees the notifications that `NOTIFY` sent, which libpq would keep.
    func dropNotifications() {
        while let notification = PQnotifies(pointer) { PQfreemem(notification) }
    }
}

/// A request to cancel the statement that a connection runs. Any thread may send it: libpq manual, PQcancel.
final class CancelRequest: Sendable {
    // PGcancel is a copy of the connection's address and key, which PQcancel only reads.
    private nonisolated(unsafe) let pointer: OpaquePointer

    init?(_ connection: LibpqConnection) {
        guard let pointer = PQgetCancel(connection.pointer) else { return nil }
        self.pointer = pointer
    }

    deinit { PQfreeCancel(pointer) }

    /// Connects, sends the request, and waits without a limit. Returns true if it was sent.
    func send() -> Bool {
        var message = [CChar](repeating: 0, count: 256)
        return PQcancel(pointer, &message, Int32(message.count)) == 1
    }
}
