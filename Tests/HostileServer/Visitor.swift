import Glibc

/// One client of a hostile server.
package struct Visitor: Sendable {
    let socket: Int32

    /// Reads the client's startup message, and refuses the requests for TLS or GSSAPI encryption that may precede it.
    /// - Returns: false for a request to cancel, for a length out of bounds, or when the client has gone.
    func readStartup() -> Bool { readStartupMessage() != nil }

    /// As `readStartup`, but returns the message's content; `nil` for false.
    func readStartupMessage() -> [UInt8]? {
        while true {
            guard let head = readBytes(8) else { return nil }
            let (length, code) = (Self.integer(head[0..<4]), Self.integer(head[4..<8]))
            // SSLRequest, GSSENCRequest: PostgreSQL manual, "Message Formats".
            if code == 80_877_103 || code == 80_877_104 {
                guard send([UInt8(ascii: "N")]) else { return nil }
                continue
            }
            if code == 80_877_102 { return nil }
            return (8...10_000).contains(length) ? readBytes(length - 8) : nil
        }
    }

    /// Reads one message.
    func readMessage() -> (type: Character, body: [UInt8])? {
        guard let head = readBytes(5) else { return nil }
        let length = Self.integer(head[1..<5])
        guard (4...10_000_000).contains(length), let body = readBytes(length - 4) else { return nil }
        return (Character(Unicode.Scalar(head[0])), body)
    }

    /// Reads up to a message that the client expects an answer to: a simple query, or the Sync of an extended one.
    /// - Returns: false when it has gone.
    func readQuery() -> Bool {
        while let message = readMessage() {
            if message.type == "Q" || message.type == "S" { return true }
        }
        return false
    }

    @discardableResult
    func send(_ bytes: [UInt8]) -> Bool {
        var start = 0
        while start < bytes.count {
            let sent = bytes[start...].withUnsafeBytes {
                Glibc.send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard sent > 0 else { return false }
            start += sent
        }
        return true
    }

    /// Sends the same bytes until the client has gone.
    func flood(_ bytes: [UInt8]) {
        var many = bytes
        while many.count < 1 << 16 { many += bytes }
        while send(many) {}
    }

    /// Sends the bytes one by one, 2 ms apart.
    func drip(_ bytes: [UInt8]) {
        for byte in bytes {
            guard send([byte]) else { return }
            usleep(2000)
        }
    }

    /// Sends nothing until the client has gone.
    func beSilent() {
        while readBytes(1) != nil {}
    }

    /// Makes closing the socket send a TCP reset, as a host that has crashed does.
    func reset() {
        var option = linger(l_onoff: 1, l_linger: 0)
        setsockopt(socket, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout.size(ofValue: option)))
    }

    private func readBytes(_ count: Int) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: count)
        var filled = 0
        while filled < count {
            let got = bytes.withUnsafeMutableBytes {
                recv(socket, $0.baseAddress.map { $0 + filled }, count - filled, 0)
            }
            guard got > 0 else { return nil }
            filled += got
        }
        return bytes
    }

    static func integer(_ bytes: ArraySlice<UInt8>) -> Int {
        Int(Int32(bitPattern: bytes.reduce(0) { $0 << 8 | UInt32($1) }))
    }
}

/// Bytes of the protocol: PostgreSQL manual, "Message Formats".
enum Bytes {
    static func int32(_ value: Int) -> [UInt8] {
        let bits = UInt32(bitPattern: Int32(truncatingIfNeeded: value))
        return [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: bits >> $0) }
    }

    static func int16(_ value: Int) -> [UInt8] { Array(int32(value)[2...]) }

    static func text(_ text: String) -> [UInt8] { Array(text.utf8) + [0] }

    /// A message; its length field is right unless the test gives another.
    static func message(_ type: Character, _ body: [UInt8] = [], length: Int? = nil) -> [UInt8] {
        [type.asciiValue ?? 0] + int32(length ?? body.count + 4) + body
    }

    static func error(_ code: String, _ message: String, type: Character = "E") -> [UInt8] {
        let severity = type == "E" ? "ERROR" : "WARNING"
        let fields: [[UInt8]] = [
            text("S\(severity)"), text("V\(severity)"), text("C\(code)"), text("M\(message)"), [0],
        ]
        return Self.message(type, Array(fields.joined()))
    }

    static func authentication(_ code: Int, _ body: [UInt8] = []) -> [UInt8] { message("R", int32(code) + body) }

    static func columns(_ names: [String]) -> [UInt8] {
        var body = int16(names.count)
        for name in names {
            body += text(name)
            // Table, column, type text, sizes, format.
            for part in [int32(0), int16(0), int32(25), int16(-1), int32(-1), int16(0)] { body += part }
        }
        return message("T", body)
    }

    static func row(_ values: [String]) -> [UInt8] {
        var body = int16(values.count)
        for value in values { body += int32(value.utf8.count) + Array(value.utf8) }
        return message("D", body)
    }

    static func parameter(_ name: String, _ value: String) -> [UInt8] { message("S", text(name) + text(value)) }

    static let ready = message("Z", [UInt8(ascii: "I")])
    static let done = message("C", text("SELECT 1"))
    static let notification = message("A", int32(1) + text("channel") + text(String(repeating: "x", count: 7000)))

    /// The messages before a client's first query.
    static let greeting =
        authentication(0) + parameter("server_version", "15.0") + parameter("client_encoding", "UTF8")
        + parameter("standard_conforming_strings", "on") + message("K", int32(1) + int32(2)) + ready
    /// The right answer to the probe's query.
    static let answer = columns(["one"]) + row(["1"]) + done + ready
}
