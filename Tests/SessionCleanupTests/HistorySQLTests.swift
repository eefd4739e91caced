@testable import SessionCleanup
import Testing
import Time

@Suite struct HistorySQLTests {
    /// A database of any encoding accepts ASCII.
    @Test(arguments: ["ä", "…", "\u{202E}", "日本語"])
    func aMessageIsWrittenInASCIIAndIsBounded(text: String) {
        let script = HistorySQL.finish(
            UTCInstant(secondsSinceEpoch: 0), of: "job", token: "token", outcome: .failed, progress: RunProgress(),
            failure: .databaseURL(String(repeating: text, count: 6000) + "\0"), nextAttemptIn: nil,
            history: History())
        let texts = script.text
        #expect(texts.unicodeScalars.allSatisfy { $0.isASCII && $0 != "\0" })
        #expect(texts.contains(#"...'"#))
        #expect(texts.utf8.count < 20_000)
    }
}
