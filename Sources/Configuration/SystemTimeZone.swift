package import CleanupSchedule
import Glibc
package import SessionCleanup

extension NamedTimeZone {
    /// Reads the rules of a zone from the system's tzdata, so that its updates count: `Europe/Berlin`, `UTC`.
    ///
    /// - Throws: `TimeZoneUnavailable` for a name that the system does not have.
    package init(systemName name: String) throws(TimeZoneUnavailable) {
        guard TimeZoneRules.isValidName(name) else { throw .invalidName }
        let path = Self.directory + "/" + name
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .unreadable(path: path, errno) }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: TimeZoneRules.maximumFileSize + 1)
        var length = 0
        while length < bytes.count {
            let count = bytes.withUnsafeMutableBytes { read(descriptor, $0.baseAddress! + length, $0.count - length) }
            if count < 0 { throw .unreadable(path: path, errno) }
            if count == 0 { break }
            length += count
        }
        do {
            self.init(name: name, rules: try TimeZoneRules(tzif: Array(bytes[..<length])))
        } catch {
            throw .malformed(path: path, error)
        }
    }

    /// Where every distribution has them: tzfile(5).
    private static let directory = "/usr/share/zoneinfo"
}

package enum TimeZoneUnavailable: Error, Hashable, Sendable, CustomStringConvertible {
    case invalidName
    /// With an `errno`.
    case unreadable(path: String, Int32)
    case malformed(path: String, TimeZoneError)

    package var description: String {
        switch self {
        case .invalidName: "that is no zone's name"
        case .unreadable(let path, let code):
            "\(path) cannot be read: \(String(cString: strerror(code))); is tzdata installed?"
        case .malformed(let path, let error): "\(path) holds no time zone: \(error)"
        }
    }
}
