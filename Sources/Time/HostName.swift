import Glibc

/// The name of the host that this process runs on; in a container, the container's.
package enum HostName {
    /// gethostname(2), in ASCII: another byte becomes a question mark, as all does where it fails.
    package static var current: String {
        var name = [CChar](repeating: 0, count: 256)
        guard gethostname(&name, name.count - 1) == 0 else { return "?" }
        return String(decoding: name.prefix { $0 != 0 }.map { $0 > 0 ? UInt8($0) : UInt8(ascii: "?") }, as: UTF8.self)
    }
}
