import Foundation
import SessionCleanup
import TestServers
import Testing

/// Which privileges suffice: each combination deletes exactly the due rows or ends with 77. None silently deletes 0.
@Suite(.inTurn) struct PrivilegeTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let testDescription: String
        /// `@role` stands for the role that deletes.
        let setUp: String
        /// Words that the refusal has to contain; `nil` when all due rows are deleted.
        let refusal: String?

        static func deletes(_ description: String, _ setUp: String) -> Case {
            Case(testDescription: description, setUp: setUp, refusal: nil)
        }

        static func refuses(_ description: String, _ setUp: String, naming refusal: String) -> Case {
            Case(testDescription: description, setUp: setUp, refusal: refusal)
        }
    }

    private static let all = "GRANT SELECT, UPDATE, DELETE ON mcp_sessions TO @role;"
    private static let group = "CREATE ROLE @role_group NOLOGIN; GRANT @role_group TO @role;"

    static let privileges: [Case] = [
        .deletes("SELECT, UPDATE and DELETE", all),
        .refuses("nothing at all", "", naming: "no SELECT, no UPDATE, no DELETE privilege"),
        .refuses("no SELECT", "GRANT UPDATE, DELETE ON mcp_sessions TO @role;", naming: "no SELECT privilege"),
        .refuses("no UPDATE", "GRANT SELECT, DELETE ON mcp_sessions TO @role;", naming: "no UPDATE privilege"),
        .refuses("no DELETE", "GRANT SELECT, UPDATE ON mcp_sessions TO @role;", naming: "no DELETE privilege"),
        .refuses(
            "SELECT on columns only",
            """
            GRANT SELECT (id, session_id, user_id, active, expires_at, updated_at) ON mcp_sessions TO @role;
            GRANT UPDATE, DELETE ON mcp_sessions TO @role;
            """, naming: "no SELECT privilege"),
        .deletes(
            "UPDATE on one column", "GRANT SELECT, UPDATE (client_id), DELETE ON mcp_sessions TO @role;"),
        .refuses(
            "no USAGE on the schema", "\(all) REVOKE USAGE ON SCHEMA public FROM @role, PUBLIC;",
            naming: "no USAGE privilege on the schema"),
        .deletes("granted to PUBLIC", "GRANT SELECT, UPDATE, DELETE ON mcp_sessions TO PUBLIC;"),
        .deletes("inherited from a group", "\(group) GRANT SELECT, UPDATE, DELETE ON mcp_sessions TO @role_group;"),
        .refuses(
            "a group's, not inherited",
            "ALTER ROLE @role NOINHERIT; \(group) GRANT SELECT, UPDATE, DELETE ON mcp_sessions TO @role_group;",
            naming: "no SELECT, no UPDATE, no DELETE privilege"),
        .deletes("the owner", "ALTER TABLE mcp_sessions OWNER TO @role;"),
        .refuses(
            "an owner who revoked from themselves",
            "ALTER TABLE mcp_sessions OWNER TO @role; REVOKE DELETE ON mcp_sessions FROM @role;", naming: "no DELETE"),
        .deletes("a superuser", "ALTER ROLE @role SUPERUSER;"),
    ]

    private static let secured = "\(all) ALTER TABLE mcp_sessions ENABLE ROW LEVEL SECURITY;"

    private static func policy(
        _ condition: String?, for command: String = "ALL", to roles: String = "@role", restrictive: Bool = false
    ) -> String {
        // The name is random, so that a table can have several of these policies.
        """
        CREATE POLICY p\(UInt32.random(in: 0...UInt32.max)) ON mcp_sessions AS \(restrictive ? "RESTRICTIVE" : "PERMISSIVE")
            FOR \(command) TO \(roles) \(condition ?? "");
        """
    }

    static let rowSecurity: [Case] = [
        .refuses("no policy", secured, naming: "no policy for SELECT"),
        .deletes("USING (true) for all", secured + policy("USING (true)")),
        .deletes("USING (true) to PUBLIC", secured + policy("USING (true)", to: "PUBLIC")),
        .deletes("USING (true) among several roles", secured + policy("USING (true)", to: "postgres, @role")),
        .refuses(
            "USING (true) to another role", secured + policy("USING (true)", to: "postgres"),
            naming: "no policy for SELECT"),
        .refuses("USING (1 = 1)", secured + policy("USING (1 = 1)"), naming: "no policy for SELECT"),
        .refuses("USING (false)", secured + policy("USING (false)"), naming: "no policy for SELECT"),
        .refuses("some rows", secured + policy("USING (user_id = 'x')"), naming: "no policy for SELECT"),
        .deletes("some rows, and all", secured + policy("USING (user_id = 'x')") + policy("USING (true)")),
        .deletes(
            "one for each command",
            secured + ["SELECT", "UPDATE", "DELETE"].map { policy("USING (true)", for: $0) }.joined()),
        .refuses(
            "none for UPDATE", secured + policy("USING (true)", for: "SELECT") + policy("USING (true)", for: "DELETE"),
            naming: "no policy for UPDATE"),
        .refuses(
            "none for DELETE", secured + policy("USING (true)", for: "SELECT") + policy("USING (true)", for: "UPDATE"),
            naming: "no policy for DELETE"),
        .refuses(
            "none for SELECT", secured + policy("USING (true)", for: "UPDATE") + policy("USING (true)", for: "DELETE"),
            naming: "no policy for SELECT"),
        .refuses("INSERT only", secured + policy("WITH CHECK (true)", for: "INSERT"), naming: "no policy for SELECT"),
        .refuses(
            "some rows for DELETE",
            secured + policy("USING (true)", for: "SELECT") + policy("USING (true)", for: "UPDATE")
                + policy("USING (user_id = 'x')", for: "DELETE"), naming: "no policy for DELETE"),
        .refuses(
            "restricted", secured + policy("USING (true)") + policy("USING (user_id = 'x')", restrictive: true),
            naming: "the restrictive policy"),
        .refuses(
            "restricted for SELECT",
            secured + policy("USING (true)") + policy("USING (user_id = 'x')", for: "SELECT", restrictive: true),
            naming: "the restrictive policy"),
        .refuses(
            "restricted for UPDATE",
            secured + policy("USING (true)") + policy("USING (user_id = 'x')", for: "UPDATE", restrictive: true),
            naming: "the restrictive policy"),
        .refuses(
            "restricted for DELETE, by PUBLIC",
            secured + policy("USING (true)")
                + policy("USING (user_id = 'x')", for: "DELETE", to: "PUBLIC", restrictive: true),
            naming: "the restrictive policy"),
        .refuses(
            "restrictive alone", secured + policy("USING (true)", restrictive: true), naming: "no policy for SELECT"),
        .deletes(
            "restricted to all rows", secured + policy("USING (true)") + policy("USING (true)", restrictive: true)),
        .deletes(
            "restricted for INSERT",
            secured + policy("USING (true)") + policy("WITH CHECK (false)", for: "INSERT", restrictive: true)),
        .deletes(
            "restricted in what UPDATE writes",
            secured + policy("USING (true)") + policy("WITH CHECK (false)", for: "UPDATE", restrictive: true)),
        .deletes(
            "restricted for another role",
            secured + policy("USING (true)") + policy("USING (false)", to: "postgres", restrictive: true)),
        .deletes("a group's policy, inherited", secured + group + policy("USING (true)", to: "@role_group")),
        .refuses(
            "a group's policy, not inherited",
            secured + "ALTER ROLE @role NOINHERIT;" + group + policy("USING (true)", to: "@role_group"),
            naming: "no policy for SELECT"),
        .deletes(
            "a group's restriction, not inherited",
            secured + "ALTER ROLE @role NOINHERIT;" + group + policy("USING (true)")
                + policy("USING (false)", to: "@role_group", restrictive: true)),
        .deletes("the owner", secured + "ALTER TABLE mcp_sessions OWNER TO @role;"),
        .refuses(
            "the owner, forced",
            secured + "ALTER TABLE mcp_sessions OWNER TO @role; ALTER TABLE mcp_sessions FORCE ROW LEVEL SECURITY;",
            naming: "no policy for SELECT"),
        .deletes(
            "the owner, forced, with a policy",
            secured + "ALTER TABLE mcp_sessions OWNER TO @role; ALTER TABLE mcp_sessions FORCE ROW LEVEL SECURITY;"
                + policy("USING (true)")),
        .deletes("BYPASSRLS", secured + "ALTER ROLE @role BYPASSRLS;"),
        .deletes(
            "a superuser, forced",
            secured + "ALTER ROLE @role SUPERUSER; ALTER TABLE mcp_sessions FORCE ROW LEVEL SECURITY;"),
        .refuses(
            "row_security = off", secured + policy("USING (true)") + "ALTER ROLE @role SET row_security = off;",
            naming: "RESET row_security"),
        .deletes("row_security = off, without row security", all + "ALTER ROLE @role SET row_security = off;"),
        .deletes(
            "row_security = off and BYPASSRLS",
            secured + "ALTER ROLE @role BYPASSRLS; ALTER ROLE @role SET row_security = off;"),
    ]

    @Test(arguments: privileges + rowSecurity)
    func deletesWhatIsDueOrSaysWhatIsMissing(test: Case) async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(Self.population)
        let role = try await database.makeServiceRole(grants: [])
        if !test.setUp.isEmpty { try await database.run(test.setUp.replacingOccurrences(of: "@role", with: role)) }
        let url = database.server.url(database.name, user: role)
        let preview = try await database.daemon(["--once", "--dry-run", "--json"], url: url)
        let result = try await database.daemon(["--once", "--json"], url: url)
        if let refusal = test.refusal {
            #expect(try await database.sessions().count == 6)
            for result in [preview, result] {
                #expect(result.status == 77, "\(result)")
                #expect(result.error.contains(refusal), "\(result.error)")
            }
            #expect(!result.output.contains("succeeded"))
        } else {
            #expect(preview.status == 0, "\(preview.error)")
            #expect(result.status == 0, "\(result.error)")
            #expect(result.output.matches(of: /"rows_deleted":2,/).count == 2)
            #expect(try await database.sessions() == ["live-1", "live-2"])
        }
    }

    static let population = """
        INSERT INTO mcp_sessions (session_id, user_id, server_url, transport_type, callback_url, updated_at, expires_at, active)
        VALUES ('transient-1', 'x', 'x', 'sse', 'x', now(), now() - interval '1 second', false),
               ('transient-2', 'y', 'x', 'sse', 'x', now(), now() - interval '1 year', NULL),
               ('dormant-1', 'x', 'x', 'sse', 'x', now() - interval '721 hours', now() + interval '1 hour', true),
               ('dormant-2', 'y', 'x', 'sse', 'x', now() - interval '1 year', now() - interval '1 hour', true),
               ('live-1', 'x', 'x', 'sse', 'x', now(), now() + interval '1 hour', false),
               ('live-2', 'y', 'x', 'sse', 'x', now() - interval '719 hours', now() - interval '1 hour', true);
        """

    /// The role exactly as the migration's optional parts make it, with and without row security.
    @Test(arguments: [false, true])
    func theSeedsRoleCanDoTheWork(hasRowSecurity: Bool) async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(Self.population)
        let role = "role_" + String(UInt64.random(in: 0...UInt64.max), radix: 36)
        let blocks = try SessionsDatabase.migration("20260513010000_install_mcp_sessions")
            .components(separatedBy: "-- ----------------").dropFirst()
            .map { block in
                block.split(separator: "\n").map { $0.drop { $0 == "-" || $0 == " " } }
                    .drop { !$0.hasPrefix("CREATE ROLE") && !$0.hasPrefix("REVOKE ALL") }.joined(separator: "\n")
                    .replacingOccurrences(of: "mcp_service_role", with: role)
                    .replacingOccurrences(of: "neondb", with: database.name)
            }
        #expect(blocks.count == 2)
        try await database.run(blocks[0])
        if hasRowSecurity { try await database.run(blocks[1]) }
        #expect(
            try await database.value("SELECT relrowsecurity FROM pg_class WHERE oid = 'mcp_sessions'::regclass")
                == "\(hasRowSecurity)")
        let result = try await database.daemon(["--once"], url: database.server.url(database.name, user: role))
        #expect(result.status == 0, "\(result.error)")
        #expect(try await database.sessions() == ["live-1", "live-2"])
    }

    /// A trigger of the application runs as our role, and a table that it writes to may have policies of its own.
    @Test func aTriggerMayWriteToATableUnderRowSecurity() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(Self.population)
        let role = try await database.makeServiceRole()
        try await database.run(
            """
            CREATE TABLE audit (session_id TEXT, role TEXT DEFAULT current_user);
            ALTER TABLE audit ENABLE ROW LEVEL SECURITY;
            CREATE POLICY own ON audit FOR INSERT WITH CHECK (role = current_user);
            GRANT INSERT ON audit TO \(role);
            CREATE FUNCTION audit() RETURNS TRIGGER LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO audit (session_id) VALUES (OLD.session_id); RETURN OLD; END $$;
            CREATE TRIGGER audit BEFORE DELETE ON mcp_sessions FOR EACH ROW EXECUTE FUNCTION audit();
            """)
        let result = try await database.daemon(["--once"], url: database.server.url(database.name, user: role))
        #expect(result.status == 0, "\(result)")
        #expect(try await database.sessions() == ["live-1", "live-2"])
        #expect(try await database.count("role = '\(role)'", in: "audit") == 4)
    }

    /// The parent's privileges and policies count; a partition's own apply only to statements that name the partition.
    @Test func aPartitionsOwnRowSecurityHidesNothingFromItsParent() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(
            """
            ALTER TABLE mcp_sessions RENAME TO seed;
            CREATE TABLE mcp_sessions (LIKE seed INCLUDING DEFAULTS) PARTITION BY HASH (id);
            CREATE TABLE leaf PARTITION OF mcp_sessions FOR VALUES WITH (MODULUS 1, REMAINDER 0);
            ALTER TABLE leaf ENABLE ROW LEVEL SECURITY;
            """)
        try await database.run(Self.population)
        let role = try await database.makeServiceRole()
        let result = try await database.daemon(["--once"], url: database.server.url(database.name, user: role))
        #expect(result.status == 0, "\(result.error)")
        #expect(try await database.sessions() == ["live-1", "live-2"])
    }

    @Test func listingSessionsNeedsSelectAlone() async throws {
        let database = try await SessionsDatabase(on: .packaged())
        try await database.run(Self.population)
        let role = try await database.makeServiceRole(grants: ["SELECT"])
        let url = database.server.url(database.name, user: role)
        let readable = try await database.daemon(["sessions", "--user", "x", "--json"], url: url)
        #expect(readable.status == 0, "\(readable.error)")
        #expect(readable.lines.count == 3)
        try await database.run("ALTER TABLE mcp_sessions ENABLE ROW LEVEL SECURITY")
        let hidden = try await database.daemon(["sessions", "--user", "x", "--json"], url: url)
        #expect(hidden.status == 77)
        #expect(hidden.error.contains("no policy for SELECT"))
        try await database.run("CREATE POLICY p ON mcp_sessions FOR SELECT USING (true)")
        #expect(try await database.daemon(["sessions", "--user", "x", "--json"], url: url).lines.count == 3)
    }
}
