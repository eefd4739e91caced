import Foundation
import Glibc

/// A socket such as a service manager, or the journal, listens on.
package final class ManagerSocket {
    package let address: String
    /// Barriers that were received, which `receive` passes over: sd_notify_barrier(3).
    package private(set) var barriers = 0
    private let descriptor: Int32

    /// - Parameter address: a path, or `@` and an abstract name; by default a path of its own.
    package init(_ address: String? = nil) throws {
        let directory = try TemporaryDirectory.make()
        self.address = address ?? directory + "/socket"
        descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        var text = Array(self.address.utf8)
        if text.first == UInt8(ascii: "@") { text[0] = 0 }
        withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: text) }
        let isAbstract = text[0] == 0
        let length = MemoryLayout<sa_family_t>.size + text.count + (isAbstract ? 0 : 1)
        let result = withUnsafePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, socklen_t(length)) }
        }
        guard result == 0 else {
            throw TestServerError("cannot bind \(self.address): \(String(cString: strerror(errno)))")
        }
    }

    deinit { close(descriptor) }

    /// A command prefix, under which a command finds the journal here: in its own mount namespace, so for root only.
    package var asJournal: [String] {
        let script = """
            mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && touch /run/systemd/journal/socket &&
            mount --bind "$0" /run/systemd/journal/socket && exec "$@"
            """
        return ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", script, address]
    }

    /// The next datagram that is no barrier; `nil` when none comes within the limit.
    package func receive(limit: Duration = .seconds(15)) async -> String? {
        // Ends, since each barrier is read once, and a sender waits for one before it sends the next.
        while let bytes = await receiveBytes(limit: limit) {
            let message = String(decoding: bytes, as: UTF8.self)
            if message != "BARRIER=1" { return message }
            // Its descriptor, which nothing here takes, is closed by the kernel: the sender goes on.
            barriers += 1
        }
        return nil
    }

    /// Waits on a thread of its own: the few threads of Swift's pool are needed by the other tests.
    package func receiveBytes(limit: Duration = .seconds(15)) async -> [UInt8]? {
        let descriptor = descriptor
        return await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
                guard poll(&request, 1, Int32(limit / .milliseconds(1))) == 1 else {
                    return continuation.resume(returning: nil)
                }
                var buffer = [UInt8](repeating: 0, count: 1 << 20)
                let count = recv(descriptor, &buffer, buffer.count, 0)
                continuation.resume(returning: count < 0 ? nil : Array(buffer[..<count]))
            }
        }
    }

    /// Fills the queue, as when a manager does not read: the next datagram blocks its sender.
    package func fill() throws {
        let sender = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        defer { close(sender) }
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: Array(address.utf8)) }
        // Ends when the queue is full: the kernel bounds it, net.unix.max_dgram_qlen.
        while withUnsafePointer(
            to: &name,
            {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    sendto(sender, "FILL=1", 6, Int32(MSG_NOSIGNAL), $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            }) >= 0
        {}
        guard errno == EAGAIN else { throw TestServerError("the queue cannot be filled: \(errno)") }
    }

    /// Receives until a datagram has the text; `nil` when none does within the limit.
    package func receive(containing text: String, limit: Duration = .seconds(15)) async -> String? {
        let deadline = ContinuousClock.now + limit
        while ContinuousClock.now < deadline {
            if let message = await receive(limit: .milliseconds(100)), message.contains(text) { return message }
        }
        return nil
    }
}
