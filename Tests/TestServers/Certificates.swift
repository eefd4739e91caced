import Foundation

/// A certificate authority for one test run, and a server certificate for `localhost` signed by it.
enum Certificates {
    static func make(in directory: String) async throws {
        func openssl(_ arguments: String) async throws {
            try await Command.check("/usr/bin/openssl", arguments.split(separator: " ").map(String.init))
        }
        try "subjectAltName=DNS:localhost,IP:127.0.0.1".write(
            toFile: directory + "/extensions", atomically: false, encoding: .utf8)
        try await openssl(
            "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=throwaway-authority -keyout \(directory)/ca.key -out \(directory)/ca.crt"
        )
        try await openssl(
            "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout \(directory)/server.key -out \(directory)/server.csr"
        )
        try await openssl(
            "x509 -req -in \(directory)/server.csr -CA \(directory)/ca.crt -CAkey \(directory)/ca.key -CAcreateserial -days 2 "
                + "-extfile \(directory)/extensions -out \(directory)/server.crt")
        for file in ["server.key", "server.crt"] {
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: "\(directory)/\(file)")
            try await ServerUser.giveFile("\(directory)/\(file)")
        }
    }
}
