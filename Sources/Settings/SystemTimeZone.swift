package import CleanupSchedule
package import SessionCleanup

extension NamedTimeZone {
    /// Reads the rules of a zone from the system's tzdata, so that its updates count: `Europe/Berlin`, `UTC`.
    package init(systemName name: String) throws(TimeZoneError) {
        guard TimeZoneRules.isValidName(name) else { throw TimeZoneError("that is no zone's name") }
        // Where every distribution has them: tzfile(5).
        let path = "/usr/share/zoneinfo/" + name
        let bytes: [UInt8]
        do {
            bytes = try BoundedFile.read(path, limit: TimeZoneRules.maximumFileSize)
        } catch {
            throw TimeZoneError("\(path) cannot be read: \(error); is tzdata installed?")
        }
        do {
            self.init(name: name, rules: try TimeZoneRules(tzif: bytes))
        } catch {
            throw TimeZoneError("\(path) holds no time zone: \(error)")
        }
    }
}
