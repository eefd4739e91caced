import Testing
import Time

@Suite struct VisibleTextTests {
    @Test(arguments: [
        ("plain text", "plain text"), ("ä “quoted” 🔑", "ä “quoted” 🔑"), ("a\nb\tc\u{0}", "a�b�c�"),
        ("\u{1B}[31m", "�[31m"), ("\u{7F}\u{80}\u{9B}", "���"),
        ("\u{200E}\u{200F}\u{202A}\u{202E}\u{2066}\u{2069}\u{61C}\u{FEFF}\u{200B}", "���������"),
        ("a\u{2028}b\u{2029}\u{E0041}", "a�b��"), ("\r\n", "��"), ("", ""),
    ])
    func replacesWhatSteersOrHides(text: String, visible: String) {
        #expect(Array(text.visible.unicodeScalars) == Array(visible.unicodeScalars))
        // A sink may replace them again: nothing changes.
        #expect(text.visible.visible == text.visible && text.visible.visibleLines == text.visible)
    }

    @Test(arguments: [("a\nb\n", "a\nb\n"), ("a\r\n\tb\u{9B}\n", "a�\n�b�\n"), ("\u{2028}\n\n", "�\n\n")])
    func keepsLineFeedsWhereThereAreLines(text: String, visible: String) {
        #expect(Array(text.visibleLines.unicodeScalars) == Array(visible.unicodeScalars))
    }

    /// Every character of the Unicode standard.
    @Test func leavesNothingThatSteers() {
        var replaced = 0
        for value in UInt32(0)...0x10FFFF {
            guard let scalar = Unicode.Scalar(value) else { continue }
            let text = String(scalar).visible
            let isC0OrC1 = value < 0x20 || (0x7F...0x9F).contains(value)
            if isC0OrC1 || scalar.properties.isBidiControl || value == 0x2028 || value == 0x2029 {
                #expect(text == "\u{FFFD}", "U+\(String(value, radix: 16))")
            }
            if text != String(scalar) { replaced += 1 }
        }
        #expect((60...400).contains(replaced), "\(replaced)")
    }

    /// RFC 8259: a character above U+FFFF is written as a surrogate pair.
    @Test(arguments: [
        ("a\"\\\n\t", #""a\"\\\n\t""#), ("\u{0}\u{1F}\u{7F}\u{9B}", #""\u0000\u001f\u007f\u009b""#),
        ("\u{202E}\u{2028}", #""\u202e\u2028""#), ("\u{E0041}\u{110BD}", #""\udb40\udc41\ud804\udcbd""#),
        ("🔑ä", "\"🔑ä\""),
    ])
    func jsonNamesThemByNumber(text: String, json: String) { #expect("\(JSON.string(text))" == json) }
}
