import SessionCleanup

/// What the process tells its caller: sysexits(3).
enum Sysexit: Int32 {
    case success = 0
    case usage = 64
    case unavailable = 69
    case software = 70
    case cannotWrite = 74
    case temporaryFailure = 75
    case noPermission = 77
    case configuration = 78

    init(_ kind: FailureKind) {
        self =
            switch kind {
            case .unreachable: .unavailable
            case .refused: .noPermission
            case .misconfigured: .configuration
            // Who canceled it ends the process with a signal's code; what is left is that it may be tried again.
            case .mayPass, .canceled: .temporaryFailure
            case .unexpected: .software
            }
    }

    /// Of several failures, the one to report: what needs a person comes before what may pass.
    static let gravestFirst: [Sysexit] = [
        .software, .configuration, .noPermission, .unavailable, .cannotWrite, .temporaryFailure,
    ]

    static func gravest(of codes: [Sysexit]) -> Sysexit {
        gravestFirst.first(where: codes.contains) ?? .success
    }
}

/// What ends a command early: said on standard error, then the exit code.
struct CommandFailure: Error {
    var code: Sysexit
    let message: String
    var hint: String?

    init(_ code: Sysexit, _ message: String, hint: String? = nil) {
        self.code = code
        self.message = message
        self.hint = hint
    }

    init(_ failure: RunFailure) {
        self.init(Sysexit(failure.kind), "\(failure)", hint: failure.hint)
    }
}
