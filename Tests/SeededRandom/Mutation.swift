extension SeededRandom {
    /// Returns one of the originals, changed at random in a few places.
    ///
    /// - Parameters:
    ///   - pieces: texts to insert, besides bytes of any value.
    ///   - changes: the largest number of places.
    package mutating func mutated(_ originals: [[UInt8]], _ pieces: [String], changes: Int = 4) -> [UInt8] {
        var bytes = pick(originals)
        for _ in 0..<Int.random(in: 1...changes, using: &self) {
            let place = Int.random(in: 0..<max(1, bytes.count), using: &self)
            switch Int.random(in: 0..<6, using: &self) {
            case 0: bytes.insert(contentsOf: pick(pieces).utf8, at: min(place, bytes.count))
            case 1: bytes.removeSubrange(place..<min(bytes.count, place + Int.random(in: 1...8, using: &self)))
            case 2 where !bytes.isEmpty: bytes[place] = UInt8.random(in: .min ... .max, using: &self)
            case 3 where !bytes.isEmpty: bytes[place] = UInt8.random(in: 32...126, using: &self)
            case 4:
                let end = min(bytes.count, place + Int.random(in: 1...40, using: &self))
                bytes.insert(contentsOf: bytes[place..<end], at: Int.random(in: 0...bytes.count, using: &self))
            default:
                var lines = bytes.split(separator: 10, omittingEmptySubsequences: false)
                lines.swapAt(Int.random(in: lines.indices, using: &self), Int.random(in: lines.indices, using: &self))
                bytes = Array(lines.joined(separator: [10]))
            }
        }
        return bytes
    }
}
