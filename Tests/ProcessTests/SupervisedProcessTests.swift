import Foundation
import TestServers
import Testing

/// What the tests' servers live under.
@Suite struct SupervisedProcessTests {
    @Test func stoppingTakesAsLongAsTheServerNeeds() async throws {
        let directory = try TemporaryDirectory.make()
        let log = directory + "/log"
        let server = try SupervisedProcess(
            ["/bin/sh", "-c", "trap 'sleep 0.5; exit' TERM; echo up; while :; do sleep 0.1; done"], logPath: log)
        for _ in 0..<2400 where (try? String(contentsOfFile: log, encoding: .utf8)) != "up\n" {
            // It is not there at first.
            try await Task.sleep(for: .milliseconds(25))
        }
        let began = ContinuousClock.now
        server.stop()
        // Not the time after which it would have been killed.
        #expect(began.duration(to: .now) < .seconds(10))
    }
}
