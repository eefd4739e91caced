import Foundation
import TestServers
import Testing

/// A real Prometheus, as people run it, scrapes two daemons.
@Suite(.slow, .enabled(if: Tool.prometheus != nil, "Prometheus is not installed: apt-get install prometheus"))
struct PrometheusTests {
    private static let jobs = ["mcp-cleanup-transient-sessions", "mcp-cleanup-dormant-sessions", "prune-codes"]
    private static let ownJob = """
        jobs: { prune-codes: { table: public.codes, where: expires_at < $1, schedule: "1 seconds" } }
        """

    /// With the default `honor_labels: false`, and rules that wait for nothing: an alert that fires does so at once.
    private static func configuration(_ directory: String, ports: [Int]) throws -> String {
        let rules = try String(contentsOfFile: AlertTests.rulesPath, encoding: .utf8).replacing(
            /for: [0-9]+m/, with: "for: 0s")
        try rules.write(toFile: directory + "/rules.yml", atomically: false, encoding: .utf8)
        return """
            global: { scrape_interval: 1s, evaluation_interval: 1s }
            rule_files: ["\(directory)/rules.yml"]
            scrape_configs:
              - job_name: cleanup
                static_configs: [{ targets: [\(ports.map { "\"127.0.0.1:\($0)\"" }.joined(separator: ", "))] }]

            """
    }

    private static func query(_ query: String, _ port: Int) async throws -> [[String: Any]] {
        let escaped = try #require(query.addingPercentEncoding(withAllowedCharacters: .alphanumerics))
        let answer = try await LoopbackHTTP.get("/api/v1/query?query=\(escaped)", port: port)
        guard answer.status == 200 else { throw TestServerError("\(query): \(answer.body)") }
        let result = try JSONSerialization.jsonObject(with: Data(answer.body.utf8)) as? [String: Any]
        return try #require((result?["data"] as? [String: Any])?["result"] as? [[String: Any]])
    }

    @Test func namesTheRightJobAndInstanceInEveryAlertAndPanel() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run("CREATE TABLE codes (expires_at TIMESTAMPTZ)")
        let role = try await database.makeServiceRole(grants: ["SELECT"])
        try await database.run("GRANT SELECT, UPDATE, DELETE ON codes TO \(role)")
        let path = try TemporaryDirectory.make() + "/config.yaml"
        try Self.ownJob.write(toFile: path, atomically: true, encoding: .utf8)
        let ports = [try Loopback.freePort(), try Loopback.freePort()]
        // One daemon works, and one may not delete.
        let urls = [database.url, database.server.url(database.name, user: role)]
        let daemons = try zip(urls, ports).map { url, port in
            try RunningDaemon(
                url: url, environment: ["MCP_CLEANUP_HTTP_LISTEN": "127.0.0.1:\(port)"], arguments: ["--config", path])
        }
        for daemon in daemons { try await daemon.wait("a run") { try !daemon.runs.isEmpty } }
        let directory = try TemporaryDirectory.make()
        try Self.configuration(directory, ports: ports).write(
            toFile: directory + "/prometheus.yml", atomically: false, encoding: .utf8)
        let webPort = try Loopback.freePort()
        let prometheus = try SupervisedProcess(
            [
                try #require(Tool.prometheus), "--config.file=\(directory)/prometheus.yml",
                "--storage.tsdb.path=\(directory)/data", "--web.listen-address=127.0.0.1:\(webPort)",
            ], logPath: directory + "/log")
        defer { prometheus.stop() }
        try await daemons[0].wait("a firing alert", limit: .seconds(60)) {
            (try? await Self.query("ALERTS{alertstate=\"firing\",alertname=\"McpCleanupFailing\"}", webPort).isEmpty)
                == false
        }
        let failing = try #require(try await Self.query("ALERTS{alertname=\"McpCleanupFailing\"}", webPort).first)
        let labels = try #require(failing["metric"] as? [String: String])
        #expect(
            labels["job_name"] == Self.jobs[0] && labels["instance"] == "127.0.0.1:\(ports[1])"
                && labels["job"] == "cleanup")
        #expect(labels.keys.allSatisfy { !$0.hasPrefix("exported_") })
        let alerts = try await LoopbackHTTP.get("/api/v1/alerts", port: webPort).body
        #expect(
            alerts.contains("The last run of \(Self.jobs[0]) did not succeed on 127.0.0.1:\(ports[1])"), "\(alerts)")
        let rules = try await LoopbackHTTP.get("/api/v1/rules", port: webPort).body
        #expect(!rules.contains(#""health":"err""#), "\(rules)")
        #expect(rules.components(separatedBy: #""health":"ok""#).count - 1 == 11, "\(rules)")
        try await panels(webPort, ports)
    }

    /// Every line names a job, an instance or both. A query that sums has one series a job, for any number of instances; another
    /// query names the instance.
    private func panels(_ webPort: Int, _ ports: [Int]) async throws {
        for query in try AlertTests.dashboardQueries() {
            let series = try await Self.query(query, webPort).compactMap { $0["metric"] as? [String: String] }
            let isByJob = query.contains("job_name=~")
            for labels in series {
                #expect(labels["job_name"].map(Self.jobs.contains) ?? !isByJob, "\(query): \(labels)")
                #expect(labels["instance"] != nil || labels["job_name"] != nil, "\(query): \(labels)")
            }
            #expect(Set(series.map { $0.sorted { $0.key < $1.key }.map { "\($0)" } }).count == series.count, "\(query)")
            if query.contains("by (job_name)") { #expect(series.count <= Self.jobs.count, "\(query): \(series)") }
        }
    }
}
