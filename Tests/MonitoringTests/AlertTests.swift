import CleanupDaemon
import Foundation
@testable import Monitoring
import Postgres
import SessionCleanup
import TestServers
import Testing

/// The files in config/ for Prometheus and Grafana.
@Suite struct AlertTests {
    private static let config = Repository.root.appendingPathComponent("config")

    /// The metric that the rules may use besides our own: the node exporter's, about the file that `--once` writes.
    private static let others: Set<String> = ["node_textfile_mtime_seconds"]

    private static func text(_ name: String) throws -> String {
        try String(contentsOf: config.appendingPathComponent(name), encoding: .utf8)
    }

    /// The names of metrics in an expression, found by their prefix: ours, the node exporter's, or `process_`.
    private static func families(in text: String) -> Set<String> {
        Set(text.matches(of: /\b(?:mcp_cleanup|node|process)_[a-z_]+/).map { String($0.0) })
    }

    private static let known: Set<String> = Set(
        MetricFamily.allCases.flatMap { family -> [String] in
            if family.kind == "histogram" { return ["_bucket", "_sum", "_count"].map { family.name + $0 } }
            return [family.name]
        })

    @Test(arguments: ["prometheus-rules.yml", "prometheus-rules-test.yml", "grafana-dashboard.json"])
    func usesOnlyFamiliesThatExist(file: String) throws {
        let used = Self.families(in: try Self.text(file))
        #expect(used.count > 5)
        #expect(used.subtracting(Self.known).subtracting(Self.others).isEmpty)
    }

    @Test func theDashboardShowsEveryFamily() throws {
        let used = Self.families(in: try Self.text("grafana-dashboard.json"))
        for family in MetricFamily.allCases where ![.batches, .lastRun, .interval, .deadline].contains(family) {
            #expect(used.contains { $0.hasPrefix(family.name) }, "\(family.name)")
        }
    }

    @Test func theDashboardIsWellFormed() throws {
        let dashboard = try #require(
            try JSONSerialization.jsonObject(with: Data(Self.text("grafana-dashboard.json").utf8)) as? [String: Any])
        let panels = try #require(dashboard["panels"] as? [[String: Any]])
        #expect(Set(panels.compactMap { $0["id"] as? Int }).count == panels.count)
        // An `id` would be another installation's.
        #expect(dashboard["schemaVersion"] is Int && dashboard["uid"] is String && dashboard["id"] == nil)
        var taken: Set<[Int]> = []
        for panel in panels {
            let title = try #require(panel["title"] as? String)
            #expect((panel["targets"] as? [[String: Any]])?.isEmpty == false, "\(title)")
            let place = try #require(panel["gridPos"] as? [String: Int], "\(title)")
            let (x, y, width, height) = try (
                #require(place["x"]), #require(place["y"]), #require(place["w"]), #require(place["h"])
            )
            #expect(x >= 0 && width > 0 && x + width <= 24 && height > 0, "\(title)")
            for column in x..<(x + width) {
                for row in y..<(y + height) {
                    #expect(taken.insert([column, row]).inserted, "\(title) lies on another panel")
                }
            }
            // Grafana's own default turns every number red from 80 on.
            if panel["type"] as? String == "stat" {
                let defaults = (panel["fieldConfig"] as? [String: Any])?["defaults"] as? [String: Any]
                #expect(defaults?["thresholds"] != nil, "\(title)")
            }
        }
    }

    /// The data source is a variable, which Grafana fills with the Prometheus that it has: importing asks for nothing,
    /// and a provisioned file works as well.
    @Test func theDashboardFindsItsDataSourceByItself() throws {
        let dashboard = try JSONSerialization.jsonObject(with: Data(Self.text("grafana-dashboard.json").utf8))
        let variables = ((dashboard as? [String: Any])?["templating"] as? [String: Any])?["list"] as? [[String: Any]]
        let first = try #require(variables?.first)
        #expect(first["type"] as? String == "datasource" && first["query"] as? String == "prometheus")
        #expect(first["name"] as? String == "datasource")
        // The dashboard shows one service, that is, one database, at a time: panels sum over its instances.
        let service = try #require(variables?.first { $0["name"] as? String == "job" })
        #expect(service["multi"] as? Bool == false && service["includeAll"] as? Bool == false)
        var count = 0
        func visit(_ value: Any) {
            if let list = value as? [Any] { list.forEach(visit) }
            guard let members = value as? [String: Any] else { return }
            for (name, member) in members {
                if name == "datasource" {
                    count += 1
                    #expect(member as? [String: String] == ["type": "prometheus", "uid": "${datasource}"])
                } else {
                    visit(member)
                }
            }
            #expect(members["expr"] == nil || members["datasource"] != nil, "\(members)")
        }
        visit(dashboard)
        #expect(count > 40)
    }

    @Test func everyLineAndEveryAlertNamesItsJobOrItsInstance() throws {
        let legends = try Self.text("grafana-dashboard.json").matches(of: /"(?:legendFormat|titleFormat)": "(.*)"/)
        #expect(legends.count > 30)
        for query in try Self.text("grafana-dashboard.json").matches(of: /"expr": "(.*)"/) {
            #expect(query.1.contains(#"instance=~\"$instance\""#) && query.1.contains(#"job=~\"$job\""#), "\(query.1)")
        }
        for legend in legends {
            #expect(legend.1.contains("{{job_name}}") || legend.1.contains("{{instance}}"), "\(legend.1)")
        }
        for summary in try Self.text("prometheus-rules.yml").matches(of: /summary: "(.*)"/) {
            // An alert has no label `instance` where no instance can be scraped.
            let isNamed = summary.1.contains("$labels.instance") || summary.1.contains("all instances")
            #expect(isNamed || summary.1 == "mcp-cleanupd cannot be scraped", "\(summary.1)")
        }
    }

    @Test(.slow, .enabled(if: Tool.promtool != nil, "promtool is not installed: apt-get install prometheus"))
    func everyRuleFiresAndDoesNotFireInItsTest() async throws {
        let promtool = try #require(Tool.promtool)
        try await Command.check(promtool, ["check", "rules", Self.config.path + "/prometheus-rules.yml"])
        let result = try await Command.run(
            promtool, ["test", "rules", Self.config.path + "/prometheus-rules-test.yml"])
        #expect(result.status == 0, "\(result.output) \(result.error)")
        let names = try Self.text("prometheus-rules.yml").matches(of: /alert: (\w+)/).map { String($0.1) }
        let tests = try Self.text("prometheus-rules-test.yml")
        #expect(names.count >= 10)
        for name in names {
            // The first is the notation for an alert that must not fire, the second for one that must.
            #expect(tests.contains("{ alertname: \(name), "), "\(name) is never expected not to fire")
            #expect(tests.contains("alertname: \(name)\n"), "\(name) is never expected to fire")
        }
    }

    /// The reader of an alert finds what to do, and how urgent it is, under the alert's name.
    @Test func everyAlertHasItsSectionInTheRunbook() throws {
        let rules = try Self.text("prometheus-rules.yml")
        let alerts = rules.matches(of: /alert: (\w+)/).map { String($0.1) }
        #expect(
            rules.matches(of: /runbook_url: "(.+)"/).map { String($0.1) }
                == alerts.map { "\(Runbook.address)#\($0.lowercased())" })
        let runbook = try Self.text("../docs/operations.md")
        let headings = runbook.components(separatedBy: "\n").filter { $0.hasPrefix("### Mcp") }
        #expect(headings == alerts.map { "### \($0)" })
        let severities = rules.matches(of: /severity: (\w+) }/).map { String($0.1) }
        #expect(runbook.matches(of: /\n\*\*Severity\*\*: (\w+)\./).map { String($0.1) } == severities)
    }

    /// Sections that the page and /status.json link to.
    @Test func everyFailureHasItsSectionInTheRunbook() throws {
        let headings = try Self.text("../docs/operations.md").components(separatedBy: "\n").filter { $0.hasPrefix("#") }
        let anchors = Set(
            headings.map { heading in
                heading.drop { "# ".contains($0) }.lowercased().replacing(" ", with: "-")
                    .filter { $0.isLetter || $0.isNumber || $0 == "-" }
            })
        let failures: [RunFailure] = [
            .databaseAway, .noPrivilege, .tableMissing(.sessions), .serverReadOnly, .canceled,
            .database(.unexpectedAnswer("x")),
        ]
        #expect(Set(failures.map(\.kind)).count == FailureKind.allCases.count)
        for link in failures.map(Runbook.section) + [Runbook.failedReload, "#not-ready"] {
            let anchor = link.split(separator: "#").last.map(String.init) ?? ""
            #expect(anchors.contains(anchor), "\(link)")
        }
    }

    /// Every query of the dashboard, its variables replaced by what Grafana would put in.
    static func dashboardQueries() throws -> [String] {
        try text("grafana-dashboard.json").matches(of: /"expr": ("(?:[^"\\]|\\.)*")/).map { match in
            let expression = try JSONDecoder().decode(String.self, from: Data(match.1.utf8))
            return expression.replacing("$job_name", with: ".*").replacing("$job", with: ".*")
                .replacing("$instance", with: ".*").replacing("$__rate_interval", with: "5m")
        }
    }

    static var rulesPath: String { config.path + "/prometheus-rules.yml" }
}
