import Foundation
import Glibc
import Postgres
import TestServers
import Testing

/// Authentication: of the client by the server, and of the server by the client.
@Suite struct LoginTests {
    @Test func verifiesAndBindsTheChannelWithTheSystemsAuthorities() async throws {
        let server = try await PostgresServer.packaged()
        let role = try await server.makeRole()
        let trusting = ["SSL_CERT_FILE": server.authority, "HOME": "/nonexistent"]
        let base =
            "postgresql://\(role):right@localhost:\(server.port)/postgres?hostaddr=127.0.0.1&channel_binding=require"
        for query in [
            "&sslmode=verify-full", "&sslmode=verify-ca", "&sslrootcert=system",
            "&sslmode=verify-full&sslrootcert=system",
        ] {
            let connection = try await open(base + query, environment: trusting)
            let row = try await connection.run("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
                .onlyRow()
            #expect(try row.bool("ssl"), "\(query)")
            await connection.close()
        }
        // By its IP address too, since the certificate names it.
        let numeric = try await open(
            "postgresql://\(role):right@127.0.0.1:\(server.port)/postgres?sslmode=verify-full&channel_binding=require",
            environment: trusting)
        await numeric.close()
    }

    @Test func refusesACertificateOfAnotherAuthority() async throws {
        let server = try await PostgresServer.packaged()
        let directory = try TemporaryDirectory.make()
        let other = directory + "/other.crt"
        try await Command.check(
            "/usr/bin/openssl",
            [
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=another", "-keyout",
                directory + "/key", "-out", other,
            ])
        for query in ["", "&sslrootcert=system"] {
            let (error, _) = await failure {
                try await open(
                    server.secureURL("postgres", user: "unknown", password: "x", query: query),
                    environment: ["SSL_CERT_FILE": other])
            }
            #expect(error?.cause == .tls, "\(String(describing: error))")
        }
    }

    @Test func refusesACertificateOfAnotherHost() async throws {
        let server = try await PostgresServer.packaged()
        let (error, _) = await failure {
            try await open(
                "postgresql://nobody@other.example:\(server.port)/postgres?hostaddr=127.0.0.1&sslmode=verify-full",
                environment: ["SSL_CERT_FILE": server.authority])
        }
        #expect(
            error?.cause == .tls && error?.description.contains("other.example") == true, "\(String(describing: error))"
        )
    }

    @Test func refusesToLogInWithoutTheChannelBindingItWasAskedFor() async throws {
        let server = try await PostgresServer.packaged()
        let (error, _) = await failure { try await open(server.url("postgres", query: "&channel_binding=require")) }
        #expect(error?.cause == .tls, "\(String(describing: error))")
    }

    /// With `prefer`, libpq tries again without TLS, and the server's second refusal has another reason.
    @Test(arguments: ["require", "prefer", "allow"]) func reportsAWrongPassword(mode: String) async throws {
        let server = try await PostgresServer.packaged()
        let role = try await server.makeRole()
        let (error, _) = await failure {
            try await open(
                "postgresql://\(role):wrong@127.0.0.1:\(server.port)/postgres?sslmode=\(mode)",
                environment: ["HOME": "/nonexistent"])
        }
        #expect(error?.sqlState == "28P01", "\(String(describing: error))")
        #expect(error?.description.contains("wrong") == false)
    }

    @Test func reportsAMissingPassword() async throws {
        let server = try await PostgresServer.packaged()
        let role = try await server.makeRole()
        let (error, _) = await failure {
            try await open(
                "postgresql://\(role):@127.0.0.1:\(server.port)/postgres?sslmode=require&passfile=/nonexistent")
        }
        #expect(error?.sqlState == "28P01", "\(String(describing: error))")
        #expect(error?.description.contains("asks for a password, and the database URL has none") == true)
    }

    @Test func reportsWhatTheServerRefuses() async throws {
        let server = try await PostgresServer.packaged()
        #expect(await failure { try await open(server.url("absent")) }.error?.sqlState == "3D000")
        #expect(await failure { try await open(server.url("postgres", user: "absent")) }.error?.sqlState == "28000")
        let unencrypted = await failure {
            try await open("postgresql://nobody@127.0.0.1:\(server.port)/postgres?sslmode=disable")
        }
        #expect(unencrypted.error?.sqlState == "28000")
        let role = try await server.makeRole("CONNECTION LIMIT 0")
        let full = await failure { try await open(server.url("postgres", user: role)) }
        #expect(full.error?.sqlState == "53300")
    }

    @Test func refusesParametersThatLibpqDoesNotTake() async throws {
        let server = try await PostgresServer.packaged()
        for query in [
            "&sslmode=nonsense", "&channel_binding=nonsense", "&target_session_attrs=nonsense", "&gssencmode=nonsense",
        ] {
            let (error, _) = await failure { try await open(server.url("postgres", query: query)) }
            guard case .invalidParameters(let message) = error else {
                Issue.record("\(query): \(String(describing: error))")
                continue
            }
            #expect(!message.contains("nonsense"))
        }
    }

    @Test func goesOnToTheNextHostUnlessAServerRefuses() async throws {
        let server = try await PostgresServer.packaged()
        let absent = try Loopback.freePort()
        let connection = try await open(
            "postgresql://postgres@/postgres?host=127.0.0.1,/nonexistent,\(server.directory)&port=\(absent),1,\(server.port)"
        )
        await connection.close()
        let fromEnvironment = try await open(
            "postgresql://postgres@/postgres",
            environment: ["PGHOST": "127.0.0.1,\(server.directory)", "PGPORT": "\(absent),\(server.port)"])
        await fromEnvironment.close()
        // After a server's refusal no other host is tried.
        let refused = await failure {
            try await open("postgresql://absent@/postgres?host=\(server.directory),/nonexistent&port=\(server.port)")
        }
        #expect(refused.error?.sqlState == "28000")
        let all = await failure {
            try await open("postgresql://postgres@/postgres?host=127.0.0.1,/nonexistent&port=\(absent),1")
        }
        #expect(all.error?.cause == .refused)
        #expect(
            all.error?.description.contains("\(absent)") == true
                && all.error?.description.contains("/nonexistent") == true)
    }

    @Test func looksForAServerThatCanWrite() async throws {
        let server = try await PostgresServer.packaged()
        let database = try await server.makeDatabase()
        let writable = try await open(server.url(database, query: "&target_session_attrs=read-write"))
        await writable.close()
        try await server.query("ALTER DATABASE \(database) SET default_transaction_read_only = on")
        let (error, _) = await failure {
            try await open(server.url(database, query: "&target_session_attrs=read-write"))
        }
        #expect(
            error?.cause == .broken && error?.description.contains("read-only") == true, "\(String(describing: error))")
    }

    @Test func usesAnAbstractSocketAsANameThatNeedsNoResolution() async throws {
        let (error, _) = await failure { try await open("postgresql://postgres@/postgres?host=@mcp-cleanupd-absent") }
        #expect(error?.cause == .refused, "\(String(describing: error))")
    }

    @Test func setsUTF8WhateverTheURLSays() async throws {
        let connection = try await open(
            PostgresServer.packaged().url("postgres", query: "&client_encoding=LATIN1&application_name=mine"))
        #expect(try await connection.value("current_setting('client_encoding')") == "UTF8")
        #expect(try await connection.value("current_setting('application_name')") == "mine")
        await connection.close()
    }
}
