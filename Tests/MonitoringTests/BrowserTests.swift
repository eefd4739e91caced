import Foundation
import TestServers
import Testing

/// The page in a real browser, served by the real daemon.
@Suite(.slow, .enabled(if: Tool.chromium != nil, "Chromium is not installed: apt-get install chromium"))
struct BrowserTests {
    /// On a loaded machine the browser now and then ends without a page; it has three tries.
    private static func dom(_ url: String, _ options: [String] = []) async throws -> (dom: String, log: String) {
        for _ in 0..<2 {
            let shown = try await loaded(url, options)
            if !shown.dom.isEmpty { return shown }
        }
        return try await loaded(url, options)
    }

    private static func loaded(_ url: String, _ options: [String]) async throws -> (dom: String, log: String) {
        let profile = try TemporaryDirectory.make()
        let result = try await Command.run(
            try #require(Tool.chromium),
            [
                "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir=\(profile)", "--enable-logging=stderr",
                "--v=0", "--virtual-time-budget=4000", "--dump-dom",
            ] + options + [url])
        return (result.output, result.error)
    }

    // MARK: Situations

    enum Situation: CaseIterable {
        case fresh, healthy, failing, databaseAway

        var title: String {
            switch self {
            case .fresh: "Waiting"
            case .healthy: "Ready"
            case .failing: "Failing"
            case .databaseAway: "Not ready"
            }
        }

        /// What a person in a hurry has to see.
        var words: [String] {
            switch self {
            case .fresh: [#"<span class="badge">waiting</span>"#, "No run of this process yet."]
            case .healthy: ["Expired sessions are being removed.", "Last success", "<rect class=\"succeeded\""]
            case .failing: [#"<span class="badge">failing</span>"#, "has no DELETE privilege", "GRANT DELETE"]
            case .databaseAway: [#"<span class="badge">overdue</span>"#, "cannot connect", "What to do"]
            }
        }

        /// A daemon in that situation.
        func served() async throws -> ServedDaemon {
            let database = try await SessionsDatabase(on: .packaged())
            // Any sooner, and the page would load itself anew before the browser is done with it.
            let (soon, never) = ("2 seconds", "0 0 1 1 *")
            if self == .databaseAway {
                let nowhere = "postgresql://127.0.0.1:\(try Loopback.freePort())/d"
                let served = try ServedDaemon(url: nowhere, schedules: (soon, never))
                // Until it listens, nobody answers.
                try await served.daemon.wait("unreadiness") { (try? await served.get("/readyz"))?.status == 503 }
                return served
            }
            let role = try await database.makeServiceRole()
            let served = try ServedDaemon(
                url: database.server.url(database.name, user: role),
                schedules: (self == .fresh ? never : soon, never))
            try await served.waitForAnswer()
            if self == .fresh { return served }
            try await served.daemon.wait("a run") { try !served.daemon.runs.isEmpty }
            if self == .healthy { return served }
            try await database.run("REVOKE DELETE ON mcp_sessions FROM \(role)")
            try await served.daemon.wait("a failed run") {
                try served.daemon.runs.contains { $0["outcome"] == "failed" }
            }
            return served
        }
    }

    @Test(arguments: Situation.allCases)
    func showsEachSituationAndCountsDownWithoutAComplaintOfTheBrowsers(_ situation: Situation) async throws {
        let served = try await situation.served()
        let (dom, log) = try await Self.dom("http://127.0.0.1:\(served.port)/")
        #expect(dom.contains("<title>\(situation.title) · mcp-cleanupd</title>"), "\(dom)")
        for words in situation.words { #expect(dom.contains(words), "\(words): \(dom)") }
        // A complaint would be about the content policy, the icon or the script.
        #expect(!log.contains("CONSOLE"), "\(log)")
        #expect(!log.contains("Content Security Policy"), "\(log)")
        // The server wrote the time left to two units of the year that is left; the script writes it anew each second.
        #expect(dom.contains(/<span data-until="[0-9T:Z-]+">(in [0-9]|now)/))
    }

    // MARK: Looks

    /// A window as wide as a phone, which no browser's own window may be, and the page in it with everything unfolded.
    /// The page tells its width, how wide its content is, whether it is dark, and its worst contrast with the text that has it.
    private static let frame = """
        <!doctype html><title></title><iframe src="page.html" width="WIDTH" height="800"></iframe>
        <script>addEventListener("message", event => { document.title = event.data; });</script>
        """
    private static let probe = """
        <script>
        for (const details of document.querySelectorAll("details")) details.open = true;
        const parts = color => color.match(/[0-9.]+/g).map(Number);
        const channel = value => value <= 10.3 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4;
        const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
        function ground(element) {
          for (; element; element = element.parentElement) {
            const color = parts(getComputedStyle(element).backgroundColor);
            if (color.length === 3 || color[3] > 0) return color;
          }
          return [255, 255, 255];
        }
        let [worst, text] = [21, ""];
        for (const element of document.querySelectorAll("body *")) {
          const own = [...element.childNodes].filter(node => node.nodeType === 3).map(node => node.textContent.trim()).join("");
          if (!own || !element.getClientRects().length) continue;
          const [a, b] = [luminance(parts(getComputedStyle(element).color)), luminance(ground(element))];
          const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
          if (contrast < worst) [worst, text] = [contrast, own];
        }
        const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
        parent.postMessage([innerWidth, document.documentElement.scrollWidth, isDark, worst.toFixed(2), text].join(" "), "*");
        </script>
        """

    @Test(arguments: [(360, false), (1000, true)])
    func fitsAPhoneAndIsReadInTheDark(width: Int, isDark: Bool) async throws {
        let served = try await Situation.failing.served()
        let directory = try TemporaryDirectory.make()
        let page = try await served.get("/").body + Self.probe
        try page.write(toFile: directory + "/page.html", atomically: false, encoding: .utf8)
        try Self.frame.replacing("WIDTH", with: "\(width)").write(
            toFile: directory + "/frame.html", atomically: false, encoding: .utf8)
        let (dom, log) = try await Self.dom(
            "file://\(directory)/frame.html",
            ["--blink-settings=preferredColorScheme=\(isDark ? 0 : 1)", "--window-size=1200,900"])
        let title = try #require(
            dom.firstMatch(of: /<title>(\d+) (\d+) (true|false) ([0-9.]+) (.*?)<\/title>/), "\(dom) \(log)")
        #expect(Int(title.1) == width)
        #expect(try #require(Int(title.2)) <= width, "nothing makes a person scroll sideways")
        #expect(title.3 == "\(isDark)")
        #expect(try #require(Double(title.4)) >= 4.5, "\(title.5)")
    }
}
