import CleanupDaemon
import CleanupSchedule
import Foundation
@testable import Monitoring
import SessionCleanup
import TestServers
import Testing
import Time

@Suite struct PageTests {
    @Test func saysEachStateInAWord() {
        var service = Simulated()
        #expect(service.page.contains("Waiting for the first fire time."))
        #expect(service.page.contains(#"<span class="badge">waiting</span>"#))
        service.beginRun()
        #expect(service.page.contains(#"<span class="badge">running</span>"#))
        service.answer(1)
        #expect(service.page.contains(#"<span class="badge">healthy</span>"#))
        #expect(service.page.contains("Expired sessions are being removed."))
        service.answer(1, .transientSessions, .failed, failure: .databaseAway)
        #expect(service.page.contains(#"<span class="badge">failing</span>"#))
        service.answer(2, .transientSessions, .failed, failure: .databaseAway)
        #expect(service.page.contains(#"<span class="badge">overdue</span>"#))
        #expect(service.page.contains("Sessions are not being removed in time."))
        service.hear(.stopping)
        #expect(service.page.contains("Stopping"))
    }

    @Test func saysWhatIsWrongAndWhatToDo() {
        var service = Simulated()
        service.answer(1, .transientSessions, .failed, failure: .noPrivilege)
        #expect(
            service.page.contains("What is wrong:</strong> the role r has no DELETE privilege on public.mcp_sessions"))
        #expect(
            service.page.contains("What to do:</strong> GRANT DELETE ON &quot;public&quot;.&quot;mcp_sessions&quot;"))
    }

    @Test func showsEachRunAsABarAndInATable() {
        var service = Simulated()
        for deleted in [0, 1, 100, 10_000] { service.run(deleted: deleted) }
        service.run(.transientSessions, .timedOut, failure: .deadlinePassed(.seconds(240)))
        let page = service.page
        #expect(page.matches(of: /<rect\ /).count == 5)
        #expect(page.matches(of: /<tr class=/).count == 5)
        #expect(page.contains(#"<rect class="timed_out""#))
        #expect(page.contains("succeeded, 10,000 deleted in 2 s</title>"))
        #expect(page.contains("<td>timed out</td>"))
    }

    @Test func nothingFromOutsideBecomesMarkup() throws {
        let evil = #"</style><script>alert("1")</script>&'"#
        let job = Job(
            name: evil, shortName: nil, schedule: try Schedule("*/5 * * * *"), deadline: .seconds(60),
            rules: Job.transientSessions.rules)
        var service = Simulated([job])
        service.run(job, .failed, failure: .databaseURL(evil))
        #expect(!service.page.contains("<script>"))
        #expect(!service.page.contains(evil))
        #expect(service.page.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;"))
        #expect("a\u{0}\u{1B}\u{7F}b".escapedForHTML == "a\u{FFFD}\u{FFFD}\u{FFFD}b")
    }

    @Test func allowsItsOwnStyleAndScriptOnlyAndDifferentlyEachTime() {
        let service = Simulated()
        let pages = (0..<100).map { _ in StatusPage(service.state, at: service.now, version: "1") }
        #expect(Set(pages.map(\.contentPolicy)).count == 100)
        for page in pages.prefix(3) {
            let nonces = page.html.matches(of: /nonce="([0-9a-f]+)"/).map { String($0.1) }
            #expect(nonces.count == 2 && Set(nonces).count == 1)
            #expect(nonces[0].count >= 31)
            #expect(page.contentPolicy.contains("script-src 'nonce-\(nonces[0])'"))
            #expect(!page.html.contains("style="), "the policy would not allow it")
        }
    }

    @Test func needsNothingFromElsewhere() {
        var service = Simulated()
        service.answer(3)
        for reference in service.page.matches(of: /(?:src|href|url)=?[("']+([^"')]*)/) {
            #expect(["/", "/metrics", "/livez", "/readyz", "data:,"].contains(reference.1), "\(reference.0)")
        }
        #expect(service.page.utf8.count < 40_000)
    }
}
