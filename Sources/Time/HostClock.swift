import Glibc

extension UTCInstant {
    /// The host's wall clock. Fire times and reports use it; the database's clock decides what is due.
    package static var now: UTCInstant {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return UTCInstant(microsecondsSinceEpoch: Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000)
    }
}

/// The readings of two clocks, never mixed: the wall clock names fire times, the other one measures waits.
package struct TwoClocks: Hashable, Sendable {
    /// The host's wall clock, which may be set.
    package var wall: UTCInstant
    /// Time since the process began, by a clock that is never set; it counts while the machine sleeps.
    package var elapsed: Duration

    package init(wall: UTCInstant, elapsed: Duration) { (self.wall, self.elapsed) = (wall, elapsed) }
}

/// The name of the host that this process runs on; in a container, the container's.
package enum HostName {
    /// gethostname(2), in ASCII: each other byte becomes a question mark, and the whole name does if the call fails.
    package static var current: String {
        var name = [CChar](repeating: 0, count: 256)
        guard gethostname(&name, name.count - 1) == 0 else { return "?" }
        return String(decoding: name.prefix { $0 != 0 }.map { $0 > 0 ? UInt8($0) : UInt8(ascii: "?") }, as: UTF8.self)
    }
}

package enum HostProcess {
    /// The process's resident memory: the second number of /proc/self/statm, in pages. 0 where /proc is not mounted.
    package static var residentBytes: Int {
        let descriptor = open("/proc/self/statm", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return 0 }
        defer { close(descriptor) }
        return withUnsafeTemporaryAllocation(byteCount: 128, alignment: 1) { buffer in
            let count = read(descriptor, buffer.baseAddress, buffer.count)
            let words = String(decoding: buffer.prefix(max(count, 0)), as: UTF8.self).split(separator: " ")
            return words.count > 1 ? (Int(words[1]) ?? 0) * sysconf(Int32(_SC_PAGESIZE)) : 0
        }
    }
}
