import Glibc
import Postgres

/// A configuration file, as it was when it was read.
package struct ConfigurationFile: Sendable {
    package let path: String
    let bytes: [UInt8]

    /// Used where it exists and no other is named.
    package static let standardPath = "/etc/mcp-cleanupd/config.yaml"

    /// The greatest size of a file in bytes: a thousand own jobs fit.
    static let sizeLimit = 256 * 1024

    package init(path: String, bytes: [UInt8]) {
        self.path = path
        self.bytes = bytes
    }

    /// The file that was asked for, or the one at the standard place.
    ///
    /// - Parameters:
    ///   - option: the path given with `--config`; that file has to be there.
    ///   - wasThere: whether the file was read before. One that is gone since is a mistake, and no wish for the defaults.
    /// - Returns: `nil` when none was asked for and there is none.
    /// - Throws: `ConfigurationFaults` when there is a file and it cannot be read.
    package static func find(
        option: String?, standardPath: String = standardPath, wasThere: Bool = false
    ) throws(ConfigurationFaults) -> ConfigurationFile? {
        let path = option ?? standardPath
        do {
            return ConfigurationFile(path: path, bytes: try BoundedFile.read(path, limit: sizeLimit))
        } catch .system(ENOENT) where option == nil && !wasThere {
            return nil
        } catch {
            let problem = "the configuration file \(path.withoutURL) cannot be read: \(error)"
            throw ConfigurationFaults(faults: [ConfigurationFault(description: problem)])
        }
    }
}

/// Where a value comes from.
package enum ConfigurationSource: Hashable, Sendable, CustomStringConvertible {
    case standard
    /// Line and column count from 1.
    case file(path: String, line: Int, column: Int)
    case variable(String)
    /// An option of the command line.
    case option(String)

    package var description: String {
        switch self {
        case .standard: "default"
        case .file(let path, let line, _): "\(path.withoutURL):\(line)"
        case .variable(let name), .option(let name): name
        }
    }
}
