import SessionCleanup

/// The exit codes of the process: sysexits(3).
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
            // A signal that canceled it ends the process with a code of its own; any other cancellation may be tried again.
            case .mayPass, .canceled: .temporaryFailure
            case .unexpected: .software
            }
    }

    /// Returns the code to report for several failures: one that needs a person comes before one that may pass.
    static func worst(of codes: [Sysexit]) -> Sysexit {
        codes.min { $0.rank < $1.rank } ?? .success
    }

    /// The place of the code where the worst is first.
    private var rank: Int {
        switch self {
        case .software: 0
        case .usage, .configuration: 1
        case .noPermission: 2
        case .unavailable: 3
        case .cannotWrite: 4
        case .temporaryFailure: 5
        case .success: 6
        }
    }
}

/// The early end of a command: a message on standard error, then the exit code.
struct CommandFailure: Error, Hashable {
    var code: Sysexit
    var message: String
    var hint: String?

    init(_ code: Sysexit, _ message: String, hint: String? = nil) {
        self.code = code
        self.message = message
        self.hint = hint
    }

    init(_ failure: RunFailure) { self.init(Sysexit(failure.kind), "\(failure)", hint: failure.hint) }

    /// `nil` for any other error: a usage error, a request for help, or a bug.
    init?(expected error: any Error) {
        switch error {
        case let failure as CommandFailure: self = failure
        case let failure as RunFailure: self.init(failure)
        default: return nil
        }
    }

    /// Writes the failure to standard error, in the one form that errors have. Returns the exit code.
    @discardableResult func report() -> Int32 {
        StandardStream.error.attempt("error: \(message)\n\(hint.map { "hint: \($0)\n" } ?? "")")
        return code.rawValue
    }
}
