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

    /// Of several failures the one to report: what needs a person comes before what may pass.
    static func worst(of codes: [Sysexit]) -> Sysexit {
        let worstFirst: [Sysexit] = [
            .software, .configuration, .noPermission, .unavailable, .cannotWrite, .temporaryFailure,
        ]
        return worstFirst.first(where: codes.contains) ?? .success
    }
}

/// The end of a command ahead of time: a message on standard error, then the exit code.
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
