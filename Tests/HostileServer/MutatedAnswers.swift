import SeededRandom

/// A server whose answers are correct except for a few bytes, which a seed determines.
package enum MutatedAnswers {
    /// - Parameter seed: the same bytes come for the same seed.
    package static func server(seed: UInt64) -> HostileServer {
        HostileServer { visitor in
            var random = SeededRandom(seed: seed)
            guard visitor.readStartup(), visitor.send(mutated(Bytes.greeting, &random)) else { return }
            while visitor.readQuery() {
                let answer = [Bytes.answer, Bytes.error("57014", "x") + Bytes.ready, Bytes.done + Bytes.ready]
                guard visitor.send(mutated(answer.randomElement(using: &random) ?? [], &random)) else { return }
            }
        }
    }

    private static func mutated(_ bytes: [UInt8], _ random: inout SeededRandom) -> [UInt8] {
        var bytes = bytes
        for _ in 0..<Int.random(in: 0...3, using: &random) {
            let place = Int.random(in: 0..<max(1, bytes.count), using: &random)
            guard place < bytes.count else { break }
            switch Int.random(in: 0..<5, using: &random) {
            case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
            case 1: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            case 2: bytes.removeSubrange(place..<min(bytes.count, place + Int.random(in: 1...20, using: &random)))
            case 3: bytes.insert(contentsOf: bytes[place...].prefix(Int.random(in: 1...20, using: &random)), at: place)
            default: bytes.removeSubrange(place...)
            }
        }
        return bytes
    }
}
