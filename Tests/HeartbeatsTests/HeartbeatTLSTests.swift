import Foundation
import Glibc
import TestServers
import Testing

/// Which servers a heartbeat over TLS trusts, with names of the test's own: RFC 9525.
@Suite(.enabled(if: geteuid() == 0, "needs root for names of its own")) struct HeartbeatTLSTests {
    /// - Parameters:
    ///   - name: the one in the server's certificate.
    ///   - options: of openssl-s_server(1).
    private func complaint(name: String, options: [String] = []) async throws -> String {
        let directory = try TemporaryDirectory.make()
        let port = try Loopback.freePort()
        try "127.0.0.1 localhost ab.b.test\n".write(toFile: directory + "/hosts", atomically: true, encoding: .utf8)
        // Allows all that the library can do, which the system's configuration may forbid.
        let configuration = """
            openssl_conf = all
            [all]
            ssl_conf = ssl
            [ssl]
            system_default = default
            [default]
            MinProtocol = TLSv1
            CipherString = ALL:@SECLEVEL=0
            """
        try configuration.write(toFile: directory + "/openssl.cnf", atomically: true, encoding: .utf8)
        try await Command.check(
            "/usr/bin/openssl",
            [
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=x", "-addext",
                "subjectAltName=DNS:\(name)", "-keyout", directory + "/key", "-out", directory + "/crt",
            ])
        let server = try SupervisedProcess(
            [
                "/usr/bin/openssl", "s_server", "-accept", "127.0.0.1:\(port)", "-cert", directory + "/crt", "-key",
                directory + "/key", "-www",
            ] + options, logPath: directory + "/log")
        defer { server.stop() }
        try await eventually("the server listens") {
            (try? LoopbackHTTP.connected(port: port)).map { close($0) } != nil
        }
        let database = try await SessionsDatabase(on: .packaged())
        let result = try await Command.run(
            "/usr/bin/unshare",
            [
                "-m", "/bin/sh", "-c", "mount --bind \"$1/hosts\" /etc/hosts && exec \"$0\" --once", Command.daemon,
                directory,
            ],
            environment: [
                "NEON_DATABASE_URL": database.url, "PATH": "/usr/bin:/bin", "SSL_CERT_FILE": directory + "/crt",
                "OPENSSL_CONF": directory + "/openssl.cnf",
                "MCP_CLEANUP_NOTIFY_SUCCESS_URL": "https://ab.b.test:\(port)/t0ken",
            ])
        #expect(result.status == 0 && !result.error.contains("t0ken"), "\(result)")
        return result.error
    }

    @Test(.slow, arguments: ["ab.b.test", "*.b.test"]) func takesTheHostsNameAndAWholeLabelsWildcard(
        name: String
    ) async throws {
        let complaint = try await complaint(name: name)
        #expect(complaint.isEmpty, "\(complaint)")
    }

    @Test(.slow, arguments: ["a*.b.test", "*b.b.test", "b.test"]) func refusesAPartOfALabelAndAnotherName(
        name: String
    ) async throws {
        let complaint = try await complaint(name: name)
        #expect(complaint.contains("TLS failed: hostname mismatch"), "\(complaint)")
    }

    @Test func refusesTLSOlderThan1_2() async throws {
        let complaint = try await complaint(name: "ab.b.test", options: ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"])
        #expect(complaint.contains("TLS failed"), "\(complaint)")
    }
}
