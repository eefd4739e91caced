import Dispatch
import Glibc
import Synchronization

/// The peak of this process's anonymous memory, in KiB, which random input may make large.
package enum PrivateMemory {
    private static let most = Mutex(0)

    /// Samples the memory every 2 ms from now on.
    package static func start() {
        DispatchQueue(label: "memory").async {
            while true {
                sample()
                usleep(2000)
            }
        }
    }

    package static func peak() -> Int {
        sample()
        return most.withLock(\.self)
    }

    package static func sample() {
        let now = current
        most.withLock { $0 = max($0, now) }
    }

    /// RssAnon of proc(5).
    private static var current: Int {
        let file = open("/proc/self/status", O_RDONLY)
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = read(file, &bytes, bytes.count)
        let lines = String(decoding: bytes.prefix(max(0, count)), as: UTF8.self).split(separator: "\n")
        let line = lines.first { $0.hasPrefix("RssAnon:") } ?? ""
        return Int(line.filter(\.isNumber)) ?? 0
    }
}
