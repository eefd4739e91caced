import CleanupDaemon
import Foundation
import SessionCleanup
import TestServers
import Testing

/// The page in a real browser, served by the real daemon.
@Suite(.slow, .enabled(if: Tool.chromium != nil, "Chromium is not installed: apt-get install chromium"))
struct BrowserTests {
    /// Loads a page. On a loaded machine the browser now and then ends without one, so it has three tries.
    private static func dom(
        _ url: String, _ options: [String] = [], after: Duration = .seconds(4)
    ) async throws -> (dom: String, log: String) {
        for _ in 0..<2 {
            let shown = try await loaded(url, options, after)
            if !shown.dom.isEmpty { return shown }
        }
        return try await loaded(url, options, after)
    }

    private static func loaded(
        _ url: String, _ options: [String], _ after: Duration
    ) async throws -> (dom: String, log: String) {
        let profile = try TemporaryDirectory.make()
        let result = try await Command.run(
            try #require(Tool.chromium),
            [
                "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir=\(profile)", "--enable-logging=stderr",
                "--v=0", "--virtual-time-budget=\(after.components.seconds * 1000)", "--dump-dom",
            ] + options + [url])
        return (result.output, result.error)
    }

    // MARK: Situations

    enum Situation: CaseIterable {
        case fresh, healthy, failing, databaseAway

        var title: String {
            switch self {
            case .fresh: "Waiting"
            case .healthy: "Healthy"
            case .failing: "Failing"
            case .databaseAway: "Overdue"
            }
        }

        /// The words that a reader has to see at first glance.
        var words: [String] {
            switch self {
            case .fresh: ["Waiting for the first run", "No run is known yet."]
            case .healthy:
                ["Expired sessions are removed on time", "Removed in the last 24 hours", "removed by the last"]
            case .failing: ["failing", "Failing since", "has no DELETE privilege", "GRANT DELETE", "Runbook"]
            case .databaseAway: ["overdue", "cannot connect", "What to do", "#cannot-connect"]
            }
        }

        /// A daemon in that situation.
        func served() async throws -> ServedDaemon {
            let database = try await SessionsDatabase(on: .packaged())
            // With a shorter interval the page would reload itself before the browser is done with it.
            let (soon, never) = ("2 seconds", "0 0 1 1 *")
            if self == .databaseAway {
                let nowhere = "postgresql://127.0.0.1:\(try Loopback.freePort())/d"
                let served = try ServedDaemon(url: nowhere, schedules: (soon, never))
                // Until it listens, there is no answer.
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
        #expect(dom.contains("<title>\(situation.title) · mcp-cleanupd on "), "\(dom)")
        for words in situation.words { #expect(dom.contains(words), "\(words): \(dom)") }
        // A message in the console would be about the content policy, the icon or the script.
        #expect(!log.contains("CONSOLE"), "\(log)")
        #expect(!log.contains("Content Security Policy"), "\(log)")
        #expect(dom.contains(/data-tick="until">(in [0-9]|now)/))
    }

    // MARK: An open page

    /// A page of simulated time in a file, whose script gets `answer` from wherever it asks.
    private static func open(_ page: String, answer: String?, after: Duration) async throws -> String {
        let path = try TemporaryDirectory.make() + "/page.html"
        var text = page
        if let answer {
            let literal = String(decoding: try JSONEncoder().encode(answer), as: UTF8.self).replacing(
                "<", with: "\\u003c")
            let fetch = "<script>window.fetch = async () => ({ ok: true, text: async () => \(literal) });</script>"
            text = text.replacing("<p id=\"lost\"", with: "\(fetch)<p id=\"lost\"")
        }
        try text.write(toFile: path, atomically: false, encoding: .utf8)
        return try await dom("file://\(path)", after: after).dom
    }

    @Test func everyTimeTicks() async throws {
        var service = Simulated()
        service.answer(1)
        service.pass(.seconds(60))
        let dom = try await Self.open(service.page, answer: nil, after: .seconds(12))
        #expect(dom.contains(/data-tick="ago">1 min \d+ s ago/), "\(dom)")
        #expect(dom.contains(/data-tick="until">in 3 min \d+ s/), "\(dom)")
    }

    @Test func showsWhatBecameOfTheServiceAndKeepsWhatIsUnfolded() async throws {
        var service = Simulated()
        service.answer(1)
        let first = service.page.replacing("<details id=\"j0runs\"", with: "<details open id=\"j0runs\"")
        service.answer(3, .transientSessions, .failed, failure: .databaseAway)
        let dom = try await Self.open(first, answer: service.page, after: .seconds(20))
        #expect(dom.contains("<title>Overdue · mcp-cleanupd on web-3</title>"), "\(dom)")
        #expect(dom.contains("transient is overdue: expired sessions stay in the table"))
        #expect(dom.contains(/<details id="j0runs" open/))
        #expect(dom.contains(/id="icon" href="data:image\/svg\+xml,[^"]*b42318/))
        #expect(dom.contains(/id="lost"[^>]*hidden/))
    }

    @Test func saysThatNothingAnswersAndSinceWhen() async throws {
        var service = Simulated()
        service.answer(1)
        // A page in a file gets no answer.
        let dom = try await Self.open(service.page, answer: nil, after: .seconds(20))
        #expect(dom.contains("<title>No answer · mcp-cleanupd on web-3</title>"), "\(dom)")
        #expect(dom.contains("No answer since 12:05:00 UTC. All below is from then."))
        #expect(dom.contains(/<body class="lost">/) && !dom.contains(/id="lost"[^>]*hidden/))
        // The answer of another program that took the address is none either.
        let other = try await Self.open(service.page, answer: "<h1>Hello</h1>", after: .seconds(20))
        #expect(other.contains("No answer since 12:05:00 UTC"))
    }

    // MARK: Looks

    /// Every state's page, unfolded, in a window as wide as a phone, which no browser's own window may be. Each reports
    /// its width, how wide its content is, how many of its tables are wider than their cards, whether it is dark, and
    /// its worst contrast with the text that has it.
    private static func frames(_ directory: String, width: Int) throws -> String {
        let frames = try PageState.allCases.map { state in
            try (state.service.page + probe).write(
                toFile: "\(directory)/\(state.rawValue).html", atomically: false, encoding: .utf8)
            return #"<iframe src="\#(state.rawValue).html" width="\#(width)" height="800"></iframe>"#
        }
        return """
            <!doctype html><title></title><script>
            addEventListener("message", event => { document.title += "[" + event.data + "]"; });
            </script>\(frames.joined())
            """
    }
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
        const scrolled = [...document.querySelectorAll(".scroll")].filter(part => part.scrollWidth > part.clientWidth).length;
        const width = document.documentElement.scrollWidth;
        parent.postMessage([innerWidth, width, scrolled, isDark, worst.toFixed(2), text].join(" "), "*");
        </script>
        """

    @Test(arguments: [(390, false), (390, true), (768, false), (1280, true)])
    func everyStateFitsItsWindowAndCanBeRead(width: Int, isDark: Bool) async throws {
        let directory = try TemporaryDirectory.make()
        try Self.frames(directory, width: width).write(
            toFile: directory + "/frame.html", atomically: false, encoding: .utf8)
        let (dom, log) = try await Self.dom(
            "file://\(directory)/frame.html",
            ["--blink-settings=preferredColorScheme=\(isDark ? 0 : 1)", "--window-size=1400,900"])
        let told = dom.matches(of: /\[(\d+) (\d+) (\d+) (true|false) ([0-9.]+) ([^\]]*)\]/)
        try #require(told.count == PageState.allCases.count, "\(dom.prefix(500)) \(log)")
        for page in told {
            #expect(Int(page.1) == width)
            #expect(try #require(Int(page.2)) <= width, "nothing makes a reader scroll sideways")
            #expect(page.3 == "0", "every column of a table is seen")
            #expect(page.4 == "\(isDark)")
            #expect(try #require(Double(page.5)) >= 4.5, "\(page.6)")
        }
    }
}
