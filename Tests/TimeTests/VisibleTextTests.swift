import Testing
import Time

@Suite struct VisibleTextTests {
    @Test(arguments: [
        ("plain text", "plain text"), ("ä “quoted” 🔑", "ä “quoted” 🔑"), ("a\nb\tc\u{0}", "a�b�c�"),
        ("\u{1B}[31m", "�[31m"), ("\u{7F}\u{80}\u{9B}", "���"),
        ("\u{200E}\u{200F}\u{202A}\u{202E}\u{2066}\u{2069}\u{61C}\u{FEFF}\u{200B}", "���������"),
        ("a\u{2028}b\u{2029}", "a�b�"), ("\r\n", "��"), ("", ""),
    ])
    func replacesWhatSteersOrHides(text: String, visible: String) {
        #expect(Array(text.visible.unicodeScalars) == Array(visible.unicodeScalars))
    }
}
