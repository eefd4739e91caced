extension Scenario {
    /// Lies about rows, results and the end of a statement.
    static let answers: [Scenario] = [
        flooding("rows without an end", after: Bytes.columns(["one"]), Bytes.row(["1"])),
        flooding("wide rows without an end", after: Bytes.columns(columns), Bytes.row(columns)),
        flooding(
            "rows of 1 MB without an end", after: Bytes.columns(["one"]),
            Bytes.row([String(repeating: "x", count: 1 << 20)])),
        flooding(
            "one row of 100 MB",
            after: Bytes.columns(["one"])
                + Bytes.message("D", Bytes.int16(1) + Bytes.int32((100 << 20) - 10), length: 100 << 20), [65]),
        flooding("results without an end", Bytes.columns(["one"]) + Bytes.row(["1"]) + Bytes.done),
        flooding("ends of statements without an end", Bytes.done),
        flooding("empty statements without an end", Bytes.message("I")),
        flooding("errors without an end", Bytes.error("XX000", "again")),
        flooding("descriptions without an end", Bytes.columns(columns)),
        flooding("rows between notifications", after: Bytes.columns(["one"]), Bytes.row(["1"]) + Bytes.notification),
        flooding("ends of the query without an end", Bytes.ready),
        flooding(
            "a notice without an end behind the answer",
            after: Bytes.answer + Bytes.message("N", length: 1_000_000_000) + Bytes.text("Mlong"),
            [UInt8](repeating: 65, count: 1 << 20)),
        flooding("errors of 5 MB", Bytes.error("57014", String(repeating: "e", count: 5 << 20))),
        answering("a row without a description", Bytes.row(["1"]) + Bytes.done + Bytes.ready),
        answering(
            "a row of two columns instead of one",
            Bytes.columns(["one"]) + Bytes.row(["1", "2"]) + Bytes.done + Bytes.ready),
        answering(
            "a row of no column instead of one", Bytes.columns(["one"]) + Bytes.row([]) + Bytes.done + Bytes.ready),
        answering(
            "a value longer than its row",
            Bytes.columns(["one"]) + Bytes.message("D", Bytes.int16(1) + Bytes.int32(99)) + Bytes.ready),
        answering(
            "a value of length -2",
            Bytes.columns(["one"]) + Bytes.message("D", Bytes.int16(1) + Bytes.int32(-2)) + Bytes.ready),
        answering("a description of -1 columns", Bytes.message("T", Bytes.int16(-1)) + Bytes.ready),
        answering("a description of 65,535 columns that ends", Bytes.message("T", Bytes.int16(-1) + [0]) + Bytes.ready),
        answering("no row", Bytes.columns(["one"]) + Bytes.done + Bytes.ready),
        answering("no column", Bytes.message("T", Bytes.int16(0)) + Bytes.row([]) + Bytes.done + Bytes.ready),
        answering("another column", Bytes.columns(["two"]) + Bytes.row(["1"]) + Bytes.done + Bytes.ready),
        answering(
            "bytes that are no text",
            Bytes.columns(["one"]) + Bytes.message("D", Bytes.int16(1) + Bytes.int32(4) + [0xFF, 0, 0xC0, 0x9B])
                + Bytes.done + Bytes.ready),
        answering("no result", Bytes.ready), answering("an empty statement", Bytes.message("I") + Bytes.ready),
        answering("a tag without an end", Bytes.message("C", [65]) + Bytes.ready),
        answering("COPY from us", Bytes.message("G", [0] + Bytes.int16(0))),
        answering("COPY to us", Bytes.message("H", [0] + Bytes.int16(0))),
        answering("COPY both ways", Bytes.message("W", [0] + Bytes.int16(0))),
        answering("a function's result", Bytes.message("V", Bytes.int32(-1)) + Bytes.ready),
        answering("a suspended portal", Bytes.message("s") + Bytes.ready),
        answering("a parsed statement", Bytes.message("1") + Bytes.ready),
        answering("another key", Bytes.message("K", Bytes.int32(1)) + Bytes.answer),
        answering("a login", Bytes.authentication(3)),
        answering("an unknown state", Bytes.columns(["one"]) + Bytes.row(["1"]) + Bytes.done + Bytes.message("Z", [7])),
        answering("an error without a field", Bytes.message("E", [0]) + Bytes.ready),
        answering("an error without an end", Bytes.message("E", Bytes.text("MX")) + Bytes.ready),
        answering("an error without the end of the query", Bytes.error("XX000", "x")),
        answering("an error whose code is a text", Bytes.error("\(HostileServer.password)", "x") + Bytes.ready),
        answering("a fatal error, and more", Bytes.error("57P01", "gone") + Bytes.answer),
        answering("an answer twice", Bytes.answer + Bytes.answer),
        answering(
            "a description in the middle",
            Bytes.columns(["one"]) + Bytes.row(["1"]) + Bytes.columns(["one"]) + Bytes.done + Bytes.ready),
        answering(
            "an error between rows", Bytes.columns(["one"]) + Bytes.row(["1"]) + Bytes.error("XX000", "x") + Bytes.ready
        ),
        Scenario("a second answer ahead of its query") { visitor in
            guard visitor.readStartup() else { return }
            visitor.send(Bytes.greeting + Bytes.answer + Bytes.answer)
            visitor.beSilent()
        },
    ]

    /// Gives each query the right answer, and before it notices of 1 MB, which libpq hands out and keeps nothing of.
    package static func sendingNotices(_ count: Int) -> @Sendable (Visitor) -> Void {
        let notice = Bytes.error("01000", String(repeating: "n", count: 1 << 20), type: "N")
        return { visitor in
            guard visitor.readStartup(), visitor.send(Bytes.greeting) else { return }
            while visitor.readQuery() {
                for _ in 0..<count where !visitor.send(notice) { return }
                guard visitor.send(Bytes.answer) else { return }
            }
        }
    }

    /// Gives each query the right answer, and before it settings of 30 KB, the longest that libpq takes, with names that have
    /// not come before: it keeps them for as long as the connection lives.
    /// - Parameter count: the number of settings before each answer.
    package static func keepingSettings(_ count: Int) -> @Sendable (Visitor) -> Void {
        { visitor in
            guard visitor.readStartup(), visitor.send(Bytes.greeting) else { return }
            let value = String(repeating: "v", count: 29_900)
            for query in 0... {
                guard visitor.readQuery() else { return }
                for number in 0..<count {
                    guard visitor.send(Bytes.parameter("setting\(query * count + number)", value)) else { return }
                }
                guard visitor.send(Bytes.answer) else { return }
            }
        }
    }

    private static let columns = (0..<1600).map { "column\($0)" }

    /// Gives each query the same answer.
    private static func answering(_ name: String, _ bytes: [UInt8]) -> Scenario {
        Scenario("answer: \(name)") { visitor in
            guard visitor.readStartup(), visitor.send(Bytes.greeting) else { return }
            while visitor.readQuery(), visitor.send(bytes) {}
        }
    }

    /// Gives the first query an answer without an end.
    private static func flooding(_ name: String, after head: [UInt8] = [], _ bytes: [UInt8]) -> Scenario {
        Scenario("answer: \(name)") { visitor in
            guard visitor.readStartup(), visitor.send(Bytes.greeting), visitor.readQuery(), visitor.send(head) else {
                return
            }
            visitor.flood(bytes)
        }
    }
}
