package import CleanupSchedule
package import SessionCleanup
import Time

extension NamedTimeZone {
    /// Reads the rules of a zone from the system's tzdata, so that its updates count: `Europe/Berlin`, `UTC`.
    ///
    /// - Throws: `TimeZoneUnavailable` for a name that the system does not have.
    package init(systemName name: String) throws(TimeZoneUnavailable) {
        guard TimeZoneRules.isValidName(name) else { throw .invalidName }
        let path = Self.directory + "/" + name
        let bytes: [UInt8]
        do {
            bytes = try BoundedFile.read(path, limit: TimeZoneRules.maximumFileSize)
        } catch {
            throw .unreadable(path: path, error)
        }
        do {
            self.init(name: name, rules: try TimeZoneRules(tzif: bytes))
        } catch {
            throw .malformed(path: path, error)
        }
    }

    /// Where every distribution has them: tzfile(5).
    private static let directory = "/usr/share/zoneinfo"
}

package enum TimeZoneUnavailable: Error, Hashable, Sendable, CustomStringConvertible {
    case invalidName
    case unreadable(path: String, FileUnreadable)
    case malformed(path: String, TimeZoneError)

    package var description: String {
        switch self {
        case .invalidName: "that is no zone's name"
        case .unreadable(let path, let why):
            "\(path) cannot be read: \(why); is tzdata installed?"
        case .malformed(let path, let error): "\(path) holds no time zone: \(error)"
        }
    }
}
