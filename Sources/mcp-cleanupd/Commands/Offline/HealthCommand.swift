import ArgumentParser
import Glibc
import Heartbeats
import Settings
import Time

struct HealthCommand: ParsableCommand, Subcommand {
    static let configuration = CommandConfiguration(
        commandName: "health",
        abstract: "Ask the running service whether it is alive, or ready. Never asks the database.",
        usage: "mcp-cleanupd health [--ready]",
        discussion: """
            Uses only http.listen of the configuration; faults elsewhere are warnings. With http.listen: off the exit code is \
            78, since no service can be asked.
            """)

    @ParentCommand var root: RootCommand
    @Flag(help: "Ask whether every job succeeds in time, rather than whether the service is alive.")
    var ready = false

    @OptionGroup(title: "Common options") var common: CommonOptions

    func run() throws {
        // The service keeps the configuration that it has read: later faults in the file do not make it unhealthy.
        let setup = try setup(needingOnly: "http.listen")
        guard let address = setup.configuration.httpListen else {
            throw CommandFailure(.configuration, "http.listen is off, so the service cannot be asked")
        }
        let answer: (status: Int, body: String)
        do {
            // The time limit is less than a container's health check waits, and more than the service takes to find its
            // scheduler stuck. The length limit is more than the reasons of any likely number of jobs.
            answer = try HTTPCall.get(
                ready ? "/readyz" : "/livez", from: HTTPCall.Server(address), authority: "localhost",
                within: .seconds(3), length: 65_536)
        } catch .notHTTP {
            throw CommandFailure(
                .unavailable, "the server at \(address) is not mcp-cleanupd",
                hint: "Compare http.listen with the service's.")
        } catch {
            let reason =
                switch error {
                case .unreachable(let code): String(cString: strerror(code))
                case .unanswered: "it does not answer"
                default: "\(error)"
                }
            throw CommandFailure(
                .unavailable, "the service at \(address) cannot be reached: \(reason)",
                hint: "Check that it runs, and that it has the same http.listen.")
        }
        let text = answer.body.split(separator: "\n").joined(separator: "; ")
        guard answer.status == 200 else {
            throw CommandFailure(
                .temporaryFailure, "the service at \(address) is not \(ready ? "ready" : "alive"): \(text)")
        }
        try StandardStream.output.list("\(text.visible)\n")
    }
}

extension HTTPCall.Server {
    /// The service that listens there. If it listens on all addresses, it is asked at the loopback address.
    fileprivate init(_ address: ListenAddress) {
        switch address {
        case .unix(let path): self = .unix(path: path)
        case .tcp(let host, let port):
            let loopback = host.contains(":") ? "::1" : "127.0.0.1"
            self = .tcp(host: address.isOnAllAddresses ? loopback : host, port: port, isTLS: false, authorities: [])
        }
    }
}
