import Foundation
import TestServers
import Testing

/// A real Prometheus scrapes a real daemon.
@Suite(.slow, .enabled(if: Tool.prometheus != nil, "Prometheus is not installed: apt-get install prometheus"))
struct PrometheusTests {
    @Test func scrapesTheDaemonAndEvaluatesEveryRuleAndQuery() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        let port = try Loopback.freePort()
        let daemon = try RunningDaemon(
            url: database.url, environment: ["MCP_CLEANUP_HTTP_LISTEN": "127.0.0.1:\(port)"])
        try await daemon.wait("a run") { try !daemon.runs.isEmpty }
        let directory = try TemporaryDirectory.make()
        let configuration = """
            global: { scrape_interval: 1s, evaluation_interval: 1s }
            rule_files: ["\(AlertTests.rulesPath)"]
            scrape_configs:
              - job_name: mcp-cleanupd
                honor_labels: true
                static_configs: [{ targets: ["127.0.0.1:\(port)"] }]

            """
        try configuration.write(toFile: directory + "/prometheus.yml", atomically: false, encoding: .utf8)
        let webPort = try Loopback.freePort()
        let prometheus = try SupervisedProcess(
            [
                try #require(Tool.prometheus), "--config.file=\(directory)/prometheus.yml",
                "--storage.tsdb.path=\(directory)/data", "--web.listen-address=127.0.0.1:\(webPort)",
            ], logPath: directory + "/log")
        defer { prometheus.stop() }
        try await daemon.wait("a scrape", limit: .seconds(60)) {
            guard
                let answer = try? await LoopbackHTTP.get(
                    "/api/v1/query?query=mcp_cleanup_runs_total%7Boutcome=%22succeeded%22%7D%3E0", port: webPort)
            else { return false }
            return answer.body.contains(#""job":"mcp-cleanup-transient-sessions""#)
        }
        try await daemon.wait("an evaluation of all rules", limit: .seconds(60)) {
            let answer = try await LoopbackHTTP.get("/api/v1/rules", port: webPort)
            return !answer.body.contains(#""health":"unknown""#) && answer.body.contains(#""health":"ok""#)
        }
        let rules = try await LoopbackHTTP.get("/api/v1/rules", port: webPort).body
        #expect(!rules.contains(#""health":"err""#), "\(rules)")
        #expect(rules.components(separatedBy: #""health":"ok""#).count - 1 == 10, "\(rules)")
        for query in try AlertTests.dashboardQueries() {
            let escaped = try #require(query.addingPercentEncoding(withAllowedCharacters: .alphanumerics))
            let answer = try await LoopbackHTTP.get("/api/v1/query?query=\(escaped)", port: webPort)
            #expect(answer.status == 200, "\(query): \(answer.body)")
        }
    }
}
