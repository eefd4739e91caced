import Glibc

/// The step of a connection at which the server begins to misbehave.
private enum Step: String, CaseIterable {
    case accepted = "at once"
    case asked = "in place of a login"
    case loggedIn = "before it is ready"
    case queried = "in place of an answer"

    /// Follows the protocol up to this step; returns false if the client does not get there.
    func reach(_ visitor: Visitor) -> Bool {
        if self == .accepted { return true }
        guard visitor.readStartup() else { return false }
        switch self {
        case .accepted, .asked: return true
        case .loggedIn: return visitor.send(Bytes.authentication(0))
        case .queried: return visitor.send(Bytes.greeting) && visitor.readQuery()
        }
    }
}

extension Scenario {
    /// Faults, each of which is tried at each step.
    private static let tricks: [(String, @Sendable (Visitor) -> Void)] = [
        ("silence", { $0.beSilent() }),
        ("end", { _ in }),
        ("reset", { $0.reset() }),
        ("garbage without an end", { $0.flood(garbage) }),
        ("HTTP", { $0.send(Array("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".utf8)) }),
        ("zero bytes without an end", { $0.flood([UInt8](repeating: 0, count: 4096)) }),
        (
            "half a message",
            {
                $0.send(Bytes.message("E", [1], length: 100)); $0.beSilent()
            }
        ),
        (
            "an error of 100 MB",
            {
                $0.send(Bytes.message("E", length: 100 << 20)); $0.flood(Bytes.text("Mlong"))
            }
        ),
        (
            "an error without an end",
            {
                $0.send(Bytes.message("E", length: 0x7FFF_FFFF)); $0.flood([65])
            }
        ),
        (
            "a negative length",
            {
                $0.send(Bytes.message("E", length: -1)); $0.beSilent()
            }
        ),
        ("a length of 3", { $0.flood(Bytes.message("N", length: 3)) }),
        ("a flood of warnings", { $0.flood(Bytes.error("01000", String(repeating: "w", count: 500), type: "N")) }),
        ("warnings of 5 MB", { $0.flood(Bytes.error("01000", String(repeating: "w", count: 5 << 20), type: "N")) }),
        ("a flood of notifications", { $0.flood(Bytes.notification) }),
        (
            "a flood of settings",
            { visitor in
                var number = 0
                while visitor.send(Bytes.parameter("setting\(number)", String(repeating: "v", count: 1000))) {
                    number += 1
                }
            }
        ),
        ("a drip", { $0.drip([UInt8](repeating: UInt8(ascii: "N"), count: 100_000)) }),
        (
            "an unknown message",
            {
                $0.send(Bytes.message("?", [1, 2, 3])); $0.beSilent()
            }
        ),
        ("the password", { $0.send(Bytes.error("28P01", "not \(HostileServer.password)")) }),
        ("an error that steers a terminal", { $0.send(Bytes.error("57014", "\u{1B}]0;x\u{7}\u{9B}\u{202E}\r\n")) }),
    ]

    private static let garbage = (0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 7) }

    static let atEachStep = Step.allCases.flatMap { step in
        tricks.map { name, trick in
            Scenario("\(name) \(step.rawValue)") { visitor in
                if step.reach(visitor) { trick(visitor) }
            }
        }
    }
}
