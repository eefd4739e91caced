import Glibc

/// Small files that are read whole.
package enum BoundedFile {
    /// Returns the bytes of a file that has at most `limit`. Refuses a pipe, whose writer may never come.
    package static func read(_ path: String, limit: Int) throws(FileUnreadable) -> [UInt8] {
        // O_NONBLOCK: opening a pipe waits for its writer.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw .system(errno) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw .system(errno) }
        guard status.st_mode & S_IFMT != S_IFIFO else { throw .pipe }
        var bytes = [UInt8](repeating: 0, count: limit + 1)
        var length = 0
        var count = 1
        while count != 0, length < bytes.count {
            count = bytes.withUnsafeMutableBytes {
                // The buffer is not empty, and `length` is below its size.
                Glibc.read(descriptor, $0.baseAddress! + length, $0.count - length)
            }
            guard count >= 0 || errno == EINTR else { throw .system(errno) }
            length += max(count, 0)
        }
        guard length <= limit else { throw .tooLarge(limit: limit) }
        return Array(bytes[..<length])
    }
}

/// Why a file cannot be read.
package enum FileUnreadable: Error, CustomStringConvertible {
    /// With an `errno`.
    case system(Int32)
    case pipe
    case tooLarge(limit: Int)

    package var description: String {
        switch self {
        case .system(let code): String(cString: strerror(code))
        case .pipe: "it is a pipe, which could be read once only"
        case .tooLarge(let limit): "it is larger than \(limit) bytes"
        }
    }
}
