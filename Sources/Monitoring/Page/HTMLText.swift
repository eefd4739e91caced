import SessionCleanup
import Time

extension String {
    /// Escaped to be safe as an element's text and as a quoted attribute's value; control characters are made visible.
    var escapedForHTML: String {
        let entities: [Unicode.Scalar: String] = ["&": "&amp;", "<": "&lt;", ">": "&gt;", "\"": "&quot;", "'": "&#39;"]
        return visibleLines.unicodeScalars.map { entities[$0] ?? String($0) }.joined()
    }
}

/// The runbook, `docs/operations.md`, as alerts and the page link to it.
enum Runbook {
    /// The runbook's address. `config/prometheus-rules.yml` has the same address; a test compares them.
    static let address = "file:///usr/share/doc/mcp-cleanupd/docs/operations.md"

    /// The section about a failed reload.
    static let failedReload = "\(address)#mcpcleanupconfigreloadfailed"

    /// The section about failures of this kind; the runbook's section “Causes” has one for each.
    static func section(for failure: RunFailure) -> String {
        let anchor =
            switch failure.kind {
            case .unreachable: "cannot-connect"
            case .refused: "the-database-refuses"
            case .misconfigured: "url-configuration-or-schema"
            case .mayPass: "transient-causes"
            case .canceled, .unexpected: "causes"
            }
        return "\(address)#\(anchor)"
    }

    /// A link to a section of the runbook. Its text is the path, since browsers follow no link from a page to a file.
    static func link(to section: String) -> String {
        "Runbook: <a href=\"\(section)\">\(section.dropFirst("file://".count))</a>"
    }
}

// Instants as the page shows them: in UTC, to the second, and how long ago or how soon they are. The script renews the latter.
extension UTCInstant {
    private var parts: [Substring] { "\(toTheSecond)".split { "TZ".contains($0) } }

    /// `12:05:00`.
    var clock: String { String(parts[1]) }
    /// `12:05`.
    var minute: String { String(parts[1].dropLast(3)) }
    /// `05-13`.
    var day: String { String(parts[0].suffix(5)) }

    /// `12:05:00` if the instant is today, otherwise the date and the minute: `2026-05-13 12:05`.
    func clock(at now: TwoClocks) -> String { parts[0] == now.wall.parts[0] ? clock : "\(parts[0]) \(minute)" }

    /// `clock(at:)` in a `<time>` element, which machines can read too.
    func element(at now: TwoClocks) -> String { "<time datetime=\"\(toTheSecond)\">\(clock(at: now))</time>" }

    /// `4 min 12 s ago`.
    func ago(at now: TwoClocks) -> String { ticking("ago", "\(wholeSeconds(now.wall - self)) ago") }
    /// `in 4 min 12 s`; `now` once it has come.
    func until(at now: TwoClocks) -> String {
        ticking("until", self > now.wall ? "in \(wholeSeconds(self - now.wall))" : "now")
    }
    /// `4 min 12 s`.
    func since(at now: TwoClocks) -> String { ticking("since", wholeSeconds(now.wall - self)) }

    private func wholeSeconds(_ duration: Duration) -> String {
        duration < .seconds(1) ? "0 s" : Duration.seconds(duration.components.seconds).inWords
    }

    private func ticking(_ kind: String, _ text: String) -> String {
        "<time datetime=\"\(toTheSecond)\" data-tick=\"\(kind)\">\(text)</time>"
    }
}
