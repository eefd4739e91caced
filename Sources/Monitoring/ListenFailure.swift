import Glibc

/// The address could not be listened on.
package struct ListenFailure: Error, CustomStringConvertible {
    enum Reason: Error, Hashable {
        /// An `errno`.
        case system(Int32)
        /// Something that is no socket has the path of a Unix socket.
        case pathTaken
        /// The path of a Unix socket is longer than the kernel allows: unix(7).
        case pathTooLong
    }

    /// The longest path of a Unix socket, in bytes.
    static let longestPath = MemoryLayout.size(ofValue: sockaddr_un().sun_path) - 1

    let address: StatusServer.Address
    let reason: Reason

    /// True if it may pass by itself: another process has the address now, or no interface has it yet, as while a machine
    /// boots.
    package var mayPass: Bool { [.system(EADDRINUSE), .system(EADDRNOTAVAIL)].contains(reason) }

    package var description: String {
        switch reason {
        case .system(let code): "cannot listen on \(address): \(String(cString: strerror(code)))"
        case .pathTaken: "cannot listen on \(address): the path exists and is no socket"
        case .pathTooLong:
            "cannot listen on \(address): the path of a Unix socket has at most \(Self.longestPath) bytes"
        }
    }

    /// What to do about it.
    package var hint: String {
        switch (reason, address) {
        case (.pathTaken, _): "Remove it, or set http.listen to another path."
        case (.pathTooLong, _): "Set http.listen to a shorter path."
        case (.system(ENOENT), .unix): "Make the directory, or set http.listen to a path in one that exists."
        case (.system(EACCES), .unix): "Set http.listen to a path in a directory that the service may write to."
        case (.system, .unix): "Set http.listen to another path, or to off."
        case (.system, .tcp), (.system, .passed): "Set http.listen to another address and port, or to off."
        }
    }
}
