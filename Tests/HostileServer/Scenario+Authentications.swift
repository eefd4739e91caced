extension Scenario {
    /// Odd ways to ask for a password.
    static let authentications: [Scenario] = [
        asking("authentication 99", Bytes.authentication(99)),
        asking("Kerberos", Bytes.authentication(7)), asking("SSPI", Bytes.authentication(9)),
        asking("a request for authentication without a code", Bytes.message("R")),
        asking("MD5 with a salt of one byte", Bytes.authentication(5, [1])),
        asking("SCRAM, before it is asked for", Bytes.authentication(11, Array("r=x,s=eA==,i=1".utf8))),
        asking("SASL without a mechanism", Bytes.authentication(10, [0])),
        asking("SASL with an unknown mechanism", Bytes.authentication(10, Bytes.text("TOKEN") + [0])),
        asking(
            "SASL with 10,000 mechanisms", Bytes.authentication(10, (0..<10_000).flatMap { Bytes.text("M\($0)") } + [0])
        ),
        asking("channel binding without TLS", Bytes.authentication(10, Bytes.text("SCRAM-SHA-256-PLUS") + [0])),
        Scenario("a password in clear, over and over") { visitor in
            guard visitor.readStartup() else { return }
            while visitor.send(Bytes.authentication(3)), visitor.readMessage() != nil {}
        },
        Scenario("the password that was sent, in an error", repeatingThePassword(after: "")),
        scram("SCRAM: 0 rounds") { "r=\($0)x,s=eA==,i=0" }, scram("SCRAM: -1 rounds") { "r=\($0)x,s=eA==,i=-1" },
        scram(endlessComputation) { "r=\($0)x,s=eA==,i=2147483647" },
        scram("SCRAM: 4294967297 rounds") { "r=\($0)x,s=eA==,i=4294967297" },
        scram("SCRAM: a salt that is not base64") { "r=\($0)x,s=*,i=1" },
        scram("SCRAM: another nonce") { _ in "r=another,s=eA==,i=1" }, scram("SCRAM: no nonce") { _ in "s=eA==,i=1" },
        scram("SCRAM: an error") { _ in "e=other-error" },
        scram("SCRAM: a message of 25 KB") { "r=\($0)\(String(repeating: "x", count: 25_000)),s=eA==,i=1" },
        scram("SCRAM: a wrong proof") { "r=\($0)x,s=eA==,i=1" },
        Scenario("SCRAM: let in without the server's proof") { visitor in
            guard beginScram(visitor) else { return }
            visitor.send(Bytes.greeting)
            visitor.beSilent()
        },
    ]

    /// Asks for a cleartext password, and repeats it after this text: in an error, or, if it lets the client in, in a
    /// notice and in the error of each query.
    package static func repeatingThePassword(
        after text: String, times: Int = 1, letsIn: Bool = false
    ) -> @Sendable (Visitor) -> Void {
        { visitor in
            guard visitor.readStartup(), visitor.send(Bytes.authentication(3)), let message = visitor.readMessage()
            else { return }
            let password = String(decoding: message.body.dropLast(), as: UTF8.self)
            let quotation = text + String(repeating: password, count: times)
            guard letsIn else { return _ = visitor.send(Bytes.error("28P01", quotation)) }
            let answer = Bytes.error("57014", quotation, type: "N") + Bytes.error("57014", quotation) + Bytes.ready
            visitor.send(Bytes.greeting)
            while visitor.readQuery(), visitor.send(answer) {}
        }
    }

    /// Refuses each client, and repeats the role and the database that it names, as PostgreSQL does.
    package static let repeatingTheStartup: @Sendable (Visitor) -> Void = { visitor in
        guard let startup = visitor.readStartupMessage() else { return }
        let words = startup.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
        visitor.send(Bytes.error("28000", "no entry for \(words.joined(separator: ", "))"))
    }

    private static func asking(_ name: String, _ request: [UInt8]) -> Scenario {
        Scenario(name) { visitor in
            guard visitor.readStartup(), visitor.send(request) else { return }
            visitor.beSilent()
        }
    }

    private static func beginScram(_ visitor: Visitor, _ first: (String) -> String = { "r=\($0)x,s=eA==,i=1" }) -> Bool
    {
        guard visitor.readStartup(), visitor.send(Bytes.authentication(10, Bytes.text("SCRAM-SHA-256") + [0])),
            let message = visitor.readMessage()
        else { return false }
        // The body: SCRAM-SHA-256, a length, then n,,n=,r=NONCE.
        let nonce = String(decoding: message.body, as: UTF8.self).split(separator: "r=").last ?? ""
        return visitor.send(Bytes.authentication(11, Array(first(String(nonce)).utf8))) && visitor.readMessage() != nil
    }

    private static func scram(_ name: String, _ first: @escaping @Sendable (String) -> String) -> Scenario {
        Scenario(name) { visitor in
            guard beginScram(visitor, first) else { return }
            visitor.send(Bytes.authentication(12, Array("v=eA==".utf8)) + Bytes.greeting)
            visitor.beSilent()
        }
    }
}
