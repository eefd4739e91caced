@testable import SessionCleanup
import Testing

@Suite struct OnePassTests {
    @Test func isTriedMoreRarelyWhileItFailsAndAtOnceAfterASuccess() {
        var onePass = OnePass(isPossible: true)
        for detour in [1, 2, 4, 8, 16, 32, 32] {
            onePass.failed()
            for _ in 0..<detour {
                #expect(!onePass.isWorthTrying)
                onePass.batchEnded(inOnePass: false, leftRow: false)
            }
            #expect(onePass.isWorthTrying)
        }
        onePass.batchEnded(inOnePass: true, leftRow: false)
        onePass.failed()
        onePass.batchEnded(inOnePass: false, leftRow: false)
        #expect(onePass.isWorthTrying)
    }

    @Test func rowsThatOnePassHasLeftAreLockedFirst() {
        var onePass = OnePass(isPossible: true)
        onePass.batchEnded(inOnePass: true, leftRow: true)
        #expect(onePass.isWorthTrying && !onePass.isWorthTryingByAddress)
    }

    @Test func isNotTriedWhereATriggerMayKeepRows() { #expect(!OnePass(isPossible: false).isWorthTrying) }
}
