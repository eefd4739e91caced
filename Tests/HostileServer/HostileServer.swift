import Dispatch
import Glibc
import Synchronization

/// A server on a TCP port of 127.0.0.1 that speaks the protocol wrongly.
package final class HostileServer: Sendable {
    package let port: Int
    private let descriptor: Int32

    /// - Parameter serve: called on a thread of its own for each client, whose socket is closed when it returns.
    package init(serve: @escaping @Sendable (Visitor) -> Void) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout.size(ofValue: address))
        // Port 0: one that is free.
        let isListening = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 && listen(descriptor, 100) == 0
                    && getsockname(descriptor, $0, &length) == 0
            }
        }
        precondition(isListening, "cannot listen on 127.0.0.1")
        port = Int(UInt16(bigEndian: address.sin_port))
        self.descriptor = descriptor
        DispatchQueue(label: "hostile-server").async {
            // Closed only here: if it were closed before accept(2) is called, the next socket would get its number.
            defer { close(descriptor) }
            while true {
                let visitor = accept(descriptor, nil, nil)
                guard visitor >= 0 else { return }
                DispatchQueue(label: "visitor").async {
                    serve(Visitor(socket: visitor))
                    close(visitor)
                }
            }
        }
    }

    deinit {
        // Ends accept(2).
        shutdown(descriptor, Int32(SHUT_RDWR))
    }

    /// A URL with a password that must not appear in any output.
    package var url: String { "postgresql://user:\(Self.password)@127.0.0.1:\(port)/database?sslmode=disable" }
    package static let password = "hunter2-token"
}

/// One way to speak the protocol wrongly.
package struct Scenario: Sendable, CustomStringConvertible {
    package let description: String
    package let serve: @Sendable (Visitor) -> Void

    init(_ description: String, _ serve: @escaping @Sendable (Visitor) -> Void) {
        self.description = description
        self.serve = serve
    }

    /// All scenarios; each name is unique.
    package static let all = atEachStep + authentications + answers

    /// The name of the scenario that lets libpq compute for half an hour, so that no connection is made.
    package static let endlessComputation = "SCRAM: 2147483647 rounds"
}
