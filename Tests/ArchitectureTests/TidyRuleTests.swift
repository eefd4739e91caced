import Foundation
import Testing

/// Each rule finds what breaks it, and only that.
@Suite struct TidyRuleTests {
    @Test(arguments: [
        "let a = b!", "let a = f()!.c", "let a = b as! C", "let a = try! f()", "let a = try? f()", "Task { f() }",
        "Task.detached { f() }", "final class A: @unchecked Sendable {", "nonisolated(unsafe) var a = 1",
        "func f(_ a: UnsafePointer<Int8>) {", #"fatalError("never")"#, #"let a = "\(b!)""#,
    ])
    func anEscapeHatchNeedsAComment(code: String) {
        #expect(TidyRules.escapeHatchesWithoutProof(SwiftText(code)).count == 1)
        #expect(TidyRules.escapeHatchesWithoutProof(SwiftText("\(code) // Right because …")).isEmpty)
        #expect(TidyRules.escapeHatchesWithoutProof(SwiftText("// Right because …\n\(code)")).isEmpty)
        #expect(TidyRules.escapeHatchesWithoutProof(SwiftText("\(code)\n// Right because …")).isEmpty)
        #expect(TidyRules.escapeHatchesWithoutProof(SwiftText("// Elsewhere.\n\n\(code)")).count == 1)
    }

    @Test(arguments: [
        "if a != b, !c {", "// a! b", #"let a = "as! b!""#, ##"let a = #"try? "x" f!"#"##,
        "let a = \"\"\"\n    b!\n    \"\"\"",
        "await withTaskGroup {", "let a = /b!/", "/* a! /* b! */ c! */ let d = 1",
    ])
    func otherCodeIsNoEscapeHatch(code: String) {
        #expect(TidyRules.escapeHatchesWithoutProof(SwiftText(code)).isEmpty)
    }

    @Test(arguments: [
        "func f(a: () -> Void = {}) async throws {", "init?(_ a: [Int]) {", "deinit {", "subscript(a: Int) -> Int {",
    ])
    func aFunctionMayHaveSixtyLines(declaration: String) {
        func text(_ count: Int) -> SwiftText {
            SwiftText("struct S {\n" + declaration + String(repeating: "\n    if a { b() }", count: count) + "\n}\n}\n")
        }
        #expect(TidyRules.functionLengths(text(58)).isEmpty)
        #expect(TidyRules.functionLengths(text(59)).map(\.line) == [2])
    }

    @Test func aRequirementOfAProtocolHasNoLength() {
        let code =
            "protocol P {\n    func f()\n}\nstruct S {" + String(repeating: "\n    var a = 1", count: 100) + "\n}\n"
        #expect(TidyRules.functionLengths(SwiftText(code)).isEmpty)
    }

    @Test func aFileMayHaveFourHundredLines() {
        #expect(TidyRules.fileLength(SwiftText(String(repeating: "\n", count: 400))).isEmpty)
        #expect(TidyRules.fileLength(SwiftText(String(repeating: "\n", count: 401))).count == 1)
    }

    @Test(arguments: [
        ("Nobody reads it.", "Nobody"), ("It is gone\n on with.", "gone on with"), ("held for ever", "for ever"),
        ("who lets go of it", "lets go of"), ("judges rows", "judges"), ("waits patiently", "patiently"),
    ])
    func aWordIsFoundWithItsLine(text: String, word: String) {
        let findings = TidyRules.wordsToReplace(("First.\n" + text).components(separatedBy: "\n"))
        #expect(findings.map(\.line) == [2])
        #expect(findings.first?.problem.hasPrefix("\"\(word)\"; write instead: ") == true)
    }

    @Test(arguments: [
        "forever", "amended", "a judgement constant", "renewed", "heard offline", "postgres://nobody@localhost",
    ])
    func otherWordsAreLeftAlone(text: String) {
        #expect(TidyRules.wordsToReplace([text]).isEmpty)
    }

    @Test func commentsAndLiteralsAreTold() {
        let text = SwiftText(#"let a = "one \(b ? "two" : c) three" // four"#)
        #expect(text.lines[0].literal.split(separator: " ") == ["one", "two", "three"])
        #expect(text.lines[0].comment == " four")
        #expect(text.lines[0].code.contains("b ? "))
        #expect(!text.lines[0].code.contains("two"))
    }
}
