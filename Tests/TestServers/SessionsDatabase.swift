import Foundation
package import Postgres
package import SessionCleanup

/// A database of a test's own with a sessions table in it.
package struct SessionsDatabase: Sendable {
    package let server: PostgresServer
    package let name: String

    /// - Parameter generation: the shape of the table; `nil` makes none.
    package init(on server: PostgresServer, _ generation: SchemaGeneration? = .active) async throws {
        self.server = server
        name = try await server.makeDatabase()
        switch generation {
        case .active: try await run(Self.migration("20260513010000_install_mcp_sessions"))
        case .status: try await run(Self.successor)
        case nil: break
        }
    }

    package var url: String { server.url(name) }

    @discardableResult
    package func run(_ sql: String, as user: String = "postgres") async throws -> QueryResult {
        try await server.query(sql, in: name, as: user)
    }

    package func value(_ sql: String) async throws -> String? { try await server.value(sql, in: name) }

    package func count(_ condition: String = "true", in table: String = "public.mcp_sessions") async throws -> Int {
        Int(try await value("SELECT count(*) FROM \(table) WHERE \(condition)") ?? "") ?? -1
    }

    /// Runs the program under test on this database.
    ///
    /// - Parameters:
    ///   - url: the superuser's over the Unix socket unless given.
    ///   - environment: additional variables.
    package func daemon(
        _ arguments: [String], url: String? = nil, environment: [String: String] = [:]
    ) async throws -> CommandResult {
        let variables = ["NEON_DATABASE_URL": url ?? self.url, "PATH": "/usr/bin:/bin"].merging(environment) { $1 }
        return try await Command.run(Command.daemon, arguments, environment: variables)
    }

    /// Creates the role of the project's first setup, with a unique name: roles belong to the whole server.
    package func makeServiceRole(grants: [String] = ["SELECT", "INSERT", "UPDATE", "DELETE"]) async throws -> String {
        let role = "role_" + String(UInt64.random(in: 0...UInt64.max), radix: 36)
        var sql = """
            CREATE ROLE \(role) LOGIN PASSWORD 'correct-horse-battery';
            GRANT CONNECT ON DATABASE \(name) TO \(role);
            GRANT USAGE ON SCHEMA public TO \(role);
            GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO \(role);
            """
        if !grants.isEmpty { sql += "GRANT \(grants.joined(separator: ", ")) ON public.mcp_sessions TO \(role);" }
        try await run(sql)
        return role
    }

    /// The SQL of a migration in migrations/neon.
    package static func migration(_ name: String) throws -> String {
        try Repository.text("migrations/neon/\(name).sql")
    }

    /// The sessions table of later versions of @mcp-ts/sdk: `status` instead of `active`.
    package static let successor = """
        CREATE TABLE public.mcp_sessions (
            id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
            session_id TEXT NOT NULL,
            user_id TEXT NOT NULL,
            server_id TEXT,
            server_name TEXT,
            server_url TEXT NOT NULL,
            server_options JSONB,
            callback_url TEXT NOT NULL,
            created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
            updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
            expires_at TIMESTAMPTZ,
            status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'active')),
            auth_url TEXT,
            enabled BOOLEAN DEFAULT true,
            tool_policy JSONB,
            discovery_state JSONB,
            oauth_state JSONB,
            headers JSONB,
            client_information JSONB,
            tokens JSONB,
            code_verifier TEXT,
            client_id TEXT,
            UNIQUE (user_id, session_id)
        );
        CREATE INDEX idx_mcp_sessions_user_id ON public.mcp_sessions (user_id);
        CREATE INDEX idx_mcp_sessions_expires_at ON public.mcp_sessions (expires_at);
        CREATE FUNCTION public.set_current_timestamp_updated_at() RETURNS TRIGGER AS $$
        BEGIN NEW.updated_at = now(); RETURN NEW; END; $$ LANGUAGE plpgsql;
        CREATE TRIGGER trg_mcp_sessions_updated_at BEFORE UPDATE ON public.mcp_sessions
            FOR EACH ROW EXECUTE FUNCTION public.set_current_timestamp_updated_at();
        """
}
