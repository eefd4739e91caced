import Glibc

/// A Unix socket that is bound to a path, and removes the path at its end.
struct UnixListener: Sendable {
    /// Bound, not listening yet; the caller owns it.
    let descriptor: Int32
    private let path: String
    /// The device and the inode of the path as it was bound.
    private let file: [UInt64]

    /// Binds the path. A socket that no process listens on any more is replaced; what is no socket is left alone.
    /// The umask decides who may connect: write permission is needed.
    ///
    /// - Throws: the reason of a `ListenFailure`.
    init(path: String) throws(ListenFailure.Reason) {
        guard path.utf8.count <= ListenFailure.longestPath, !path.utf8.contains(0) else { throw .pathTooLong }
        try Self.removeStaleSocket(path)
        let socket = try Self.makeSocket()
        guard Self.withAddress(path, { bind(socket, $0, $1) }) == 0 else {
            let code = errno
            close(socket)
            throw .system(code)
        }
        descriptor = socket
        self.path = path
        file = Self.file(at: path) ?? []
    }

    /// Removes the path, unless another process has replaced it since.
    func removePath() {
        if Self.file(at: path) == file { unlink(path) }
    }

    private static func removeStaleSocket(_ path: String) throws(ListenFailure.Reason) {
        var status = stat()
        guard lstat(path, &status) == 0 else {
            if errno == ENOENT { return }
            throw .system(errno)
        }
        guard status.st_mode & S_IFMT == S_IFSOCK else { throw .pathTaken }
        let probe = try makeSocket()
        defer { close(probe) }
        // EAGAIN: its queue of connections is full, so a process listens: connect(2).
        let isServed = withAddress(path) { connect(probe, $0, $1) } == 0 || errno == EAGAIN
        guard !isServed else { throw .system(EADDRINUSE) }
        guard errno == ECONNREFUSED else { throw .system(errno) }
        guard unlink(path) == 0 || errno == ENOENT else { throw .system(errno) }
    }

    private static func makeSocket() throws(ListenFailure.Reason) -> Int32 {
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let descriptor = socket(AF_UNIX, type, 0)
        guard descriptor >= 0 else { throw .system(errno) }
        return descriptor
    }

    /// The path's device and inode; `nil` if it does not exist.
    private static func file(at path: String) -> [UInt64]? {
        var status = stat()
        return lstat(path, &status) == 0 ? [UInt64(status.st_dev), UInt64(status.st_ino)] : nil
    }

    // The pointer is the body's for the call only.
    private static func withAddress(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        // A sockaddr_un is what AF_UNIX says a sockaddr is: unix(7).
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
    }
}
