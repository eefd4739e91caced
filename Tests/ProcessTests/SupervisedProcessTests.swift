import Foundation
import TestServers
import Testing

/// The supervisor of the tests' servers.
@Suite struct SupervisedProcessTests {
    @Test func stoppingTakesAsLongAsTheServerNeeds() async throws {
        let directory = try TemporaryDirectory.make()
        let log = directory + "/log"
        let server = try SupervisedProcess(
            ["/bin/sh", "-c", "trap 'sleep 0.5; exit' TERM; echo up; while :; do sleep 0.1; done"], logPath: log)
        // The file does not exist at first.
        try await eventually("the server is up", within: .seconds(60)) {
            (try? String(contentsOfFile: log, encoding: .utf8)) == "up\n"
        }
        let began = ContinuousClock.now
        server.stop()
        // Sooner than the 10 s after which it would have been killed.
        #expect(began.duration(to: .now) < .seconds(10))
    }
}
