import ArgumentParser
import Glibc
import Settings
import Time

struct HealthCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "health",
        abstract: "Ask the running service whether it is alive, or ready. Never asks the database.",
        discussion: """
            Of the configuration it takes only http.listen; what is wrong elsewhere is a warning. Where it is off, there is \
            nobody to ask: 78.
            """)

    @ParentCommand var root: RootCommand
    @OptionGroup var common: CommonOptions

    @Flag(help: "Whether every job succeeds in time, rather than whether the service is alive.")
    var ready = false

    func run() throws {
        try root.refuseOnceFlags(with: "health")
        // The configuration in force is the service's: a file that was spoiled since does not make it ill.
        let setup = try CommandSetup(common.merged(with: root.common), needingOnly: "http.listen")
        guard let address = setup.configuration.httpListen else {
            throw CommandFailure(.configuration, "http.listen is off, so the service cannot be asked.")
        }
        let (status, text) = try LocalRequest.get(ready ? "/readyz" : "/livez", from: address)
        guard status == 200 else {
            throw CommandFailure(
                .temporaryFailure, "the service at \(address) is not \(ready ? "ready" : "alive"): \(text.visible)")
        }
        try StandardStream.output.write("\(text.visible)\n")
    }
}

/// One request to our own service, over a plain socket; blocks for `patience` at most, twice.
private enum LocalRequest {
    /// Less than any container's health check waits; more than the service takes to find out that its scheduler is stuck.
    private static let patience = timeval(tv_sec: 3, tv_usec: 0)
    /// More than the reasons of any number of jobs that somebody would configure.
    private static let longestAnswer = 65_536

    static func get(_ path: String, from address: ListenAddress) throws(CommandFailure) -> (status: Int, text: String) {
        // A service that listens on all addresses listens on the loopback one.
        let host = ["0.0.0.0": "127.0.0.1", "::": "::1"][address.host] ?? address.host
        let isIPv6 = host.contains(":")
        let descriptor = socket(isIPv6 ? AF_INET6 : AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { throw unreachable(address, errno) }
        defer { close(descriptor) }
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            var patience = patience
            setsockopt(descriptor, SOL_SOCKET, option, &patience, socklen_t(MemoryLayout<timeval>.size))
        }
        guard connect(descriptor, host, port: address.port, isIPv6: isIPv6) == 0 else {
            throw unreachable(address, errno)
        }
        let request = Array("GET \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".utf8)
        guard send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else {
            throw unreachable(address, errno)
        }
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while answer.count < longestAnswer {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            guard count >= 0 else { throw unreachable(address, errno) }
            if count == 0 { break }
            answer += buffer[..<count]
        }
        return try parse(String(decoding: answer, as: UTF8.self), address)
    }

    private static func connect(_ descriptor: Int32, _ host: String, port: Int, isIPv6: Bool) -> Int32 {
        let port = UInt16(port).bigEndian
        if isIPv6 {
            var name = sockaddr_in6()
            name.sin6_family = sa_family_t(AF_INET6)
            name.sin6_port = port
            inet_pton(AF_INET6, host, &name.sin6_addr)
            return withUnsafeBytes(of: &name) { connect(descriptor, to: $0) }
        }
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = port
        inet_pton(AF_INET, host, &name.sin_addr)
        return withUnsafeBytes(of: &name) { connect(descriptor, to: $0) }
    }

    private static func connect(_ descriptor: Int32, to name: UnsafeRawBufferPointer) -> Int32 {
        // connect(2) reads as many bytes as it is told, whatever the family.
        Glibc.connect(descriptor, name.baseAddress?.assumingMemoryBound(to: sockaddr.self), socklen_t(name.count))
    }

    private static func parse(_ answer: String, _ address: ListenAddress) throws(CommandFailure) -> (Int, String) {
        guard answer.hasPrefix("HTTP/1.1 "), let status = Int(answer.dropFirst(9).prefix(3)),
            let end = answer.firstRange(of: "\r\n\r\n")
        else {
            throw CommandFailure(
                .unavailable, "what answers at \(address) is not mcp-cleanupd.",
                hint: "Compare http.listen with the service's.")
        }
        return (status, answer[end.upperBound...].split(separator: "\n").joined(separator: "; "))
    }

    private static func unreachable(_ address: ListenAddress, _ code: Int32) -> CommandFailure {
        let reason = code == EAGAIN ? "it does not answer" : String(cString: strerror(code))
        return CommandFailure(
            .unavailable, "the service at \(address) cannot be reached: \(reason)",
            hint: "Check that it runs, and that it has the same http.listen.")
    }
}
