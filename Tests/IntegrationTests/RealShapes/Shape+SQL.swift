import SessionCleanup

/// The statements that make a shape, after the migration has made its table.
extension Shape {
    /// - Parameters:
    ///   - role: the role that runs the cleanup.
    ///   - authenticated: the role that stands for Supabase's role `authenticated`.
    func definition(role: String, authenticated: String) -> String {
        [
            tables, triggerForUpdates, rows, keys, triggers, policies(role: role, authenticated: authenticated),
            "GRANT SELECT, INSERT, UPDATE, DELETE ON mcp_sessions TO \(role);", "ANALYZE;",
        ].joined(separator: "\n")
    }

    private var parts: [String] {
        switch layout {
        case .plain: []
        case .threePartitions: (0..<3).map { "part_\($0)" }
        case .manyPartitions: (0..<128).map { "part_\($0)" }
        case .inheritance: ["part_0", "part_1"]
        }
    }

    private var tables: String {
        let like = "(LIKE seed INCLUDING DEFAULTS INCLUDING CONSTRAINTS, PRIMARY KEY (id))"
        switch layout {
        case .plain: return ""
        case .threePartitions, .manyPartitions:
            let each = parts.enumerated().map { number, part in
                "CREATE TABLE \(part) PARTITION OF mcp_sessions FOR VALUES WITH (MODULUS \(parts.count), REMAINDER \(number));"
            }
            return "ALTER TABLE mcp_sessions RENAME TO seed; CREATE TABLE mcp_sessions \(like) PARTITION BY HASH (id);"
                + each.joined()
        case .inheritance:
            return "ALTER TABLE mcp_sessions RENAME TO seed; CREATE TABLE mcp_sessions \(like);"
                + "CREATE TABLE part_0 () INHERITS (mcp_sessions); CREATE TABLE part_1 (more TEXT) INHERITS (mcp_sessions);"
        }
    }

    private var triggerForUpdates: String {
        layout == .plain
            ? ""
            : """
            CREATE TRIGGER trg_mcp_sessions_updated_at BEFORE UPDATE ON mcp_sessions
                FOR EACH ROW EXECUTE FUNCTION set_current_timestamp_updated_at();
            """
    }

    /// `dueCount` due rows in the order of their age, and 50 rows that are not due.
    private var rows: String {
        let columns = generation == .active ? ", transport_type, active" : ", status"
        func state(_ isActive: Bool) -> String {
            generation == .active ? ", 'sse', \(isActive)" : ", '\(isActive ? "active" : "pending")'"
        }
        let tables = layout == .inheritance ? ["mcp_sessions"] + parts : ["mcp_sessions"]
        return tables.enumerated().map { number, table in
            let here = "WHERE n % \(tables.count) = \(number)"
            return """
                INSERT INTO \(table) (session_id, user_id, server_url, callback_url, updated_at, expires_at\(columns))
                SELECT 'due-' || n, 'user-' || n % 7, 'x', 'x', now() - interval '50 days' + n * interval '1 hour',
                       now() - interval '50 days' + n * interval '1 hour'\(state(isDormant))
                  FROM generate_series(1, \(dueCount)) AS n \(here)
                UNION ALL
                SELECT 'live-' || n, 'user-' || n % 7, 'x', 'x', now(), now() + interval '1 day'\(state(!isDormant))
                  FROM generate_series(1, 50) AS n \(here);
                """
        }.joined(separator: "\n")
    }

    /// A foreign key refers only to rows of the table that it names, not to rows of its inheritance children.
    private var referred: String { layout == .inheritance ? "ONLY mcp_sessions" : "mcp_sessions" }

    /// A condition for one row of ten, which a trigger or a key refuses.
    private static func isBad(_ row: String) -> String { "\(row).session_id LIKE 'due-%0'" }

    private var keys: String {
        let index = isIndexed ? "CREATE INDEX ON child (session);" : ""
        func child(_ action: String, _ condition: String = "true") -> String {
            """
            CREATE TABLE child (session UUID REFERENCES mcp_sessions (id) \(action), note TEXT); \(index)
            INSERT INTO child SELECT s.id, '' FROM \(referred) AS s, generate_series(1, 2) WHERE \(condition);
            """
        }
        // Chains of four sessions, each of which refers to an older one; and one that is not due refers to one that is.
        func own(_ action: String) -> String {
            """
            ALTER TABLE mcp_sessions ADD parent UUID REFERENCES mcp_sessions (id) \(action);
            \(isIndexed ? "CREATE INDEX ON mcp_sessions (parent);" : "")
            SET session_replication_role = replica;
            UPDATE mcp_sessions AS s SET parent = p.id FROM \(referred) AS p
             WHERE s.session_id LIKE 'due-%' AND p.session_id LIKE 'due-%'
               AND substr(s.session_id, 5)::int = substr(p.session_id, 5)::int + 3
               AND substr(p.session_id, 5)::int / 3 % 4 <> 0 AND s.tableoid = \(ownParts);
            UPDATE mcp_sessions AS s SET parent = p.id FROM \(referred) AS p
             WHERE s.session_id = 'live-3' AND p.session_id = 'due-18' AND s.tableoid = \(ownParts);
            RESET session_replication_role;
            """
        }
        switch key {
        case .none: return ""
        case .cascade: return child("ON DELETE CASCADE")
        case .setNull: return child("ON DELETE SET NULL")
        case .restrict: return child("ON DELETE RESTRICT", Self.isBad("s"))
        case .deferred: return child("DEFERRABLE INITIALLY DEFERRED", Self.isBad("s"))
        case .ownCascade: return own("ON DELETE CASCADE")
        case .ownSetNull: return own("ON DELETE SET NULL")
        case .ownRestrict: return own("")
        }
    }

    /// An inheritance child has no key of its own, so its rows refer to none.
    private var ownParts: String { layout == .inheritance ? "'mcp_sessions'::regclass" : "s.tableoid" }

    private var triggers: String {
        let bad = Self.isBad("OLD")
        let others = "user_id = OLD.user_id AND session_id <> OLD.session_id AND session_id LIKE 'due-%'"
        switch trigger {
        case .none: return ""
        case .before: return row("BEFORE DELETE", "RETURN OLD;")
        case .after: return row("AFTER DELETE", "INSERT INTO audit VALUES (OLD.session_id); RETURN NULL;")
        case .slowBefore: return row("BEFORE DELETE", "PERFORM pg_sleep(0.02); RETURN OLD;")
        case .slowAfter: return row("AFTER DELETE", "PERFORM pg_sleep(0.02); RETURN NULL;")
        case .slowDeferred: return row("AFTER DELETE", "PERFORM pg_sleep(0.02); RETURN NULL;", isDeferred: true)
        case .slowStatement: return statement("BEFORE DELETE", "", "PERFORM pg_sleep(0.01); RETURN NULL;")
        case .raisesBefore: return row("BEFORE DELETE", "IF \(bad) THEN \(Self.raise()) END IF; RETURN OLD;")
        case .raisesAfter: return row("AFTER DELETE", "IF \(bad) THEN \(Self.raise()) END IF; RETURN NULL;")
        case .raisesDeferred:
            return row("AFTER DELETE", "IF \(bad) THEN \(Self.raise()) END IF; RETURN NULL;", isDeferred: true)
        case .raisesAnyCode:
            let codes = ["57014", "40001", "55P03", "53200", "08006", "25006", "XX000", "57P01"]
            let each = codes.enumerated().map { number, code in
                "IF \(bad) AND substr(OLD.session_id, 5)::int / 10 % \(codes.count) = \(number) THEN \(Self.raise(code)) END IF;"
            }
            return row("BEFORE DELETE", "\(each.joined(separator: " ")) RETURN OLD;")
        case .vetoes: return row("BEFORE DELETE", "IF \(bad) THEN RETURN NULL; END IF; RETURN OLD;")
        case .updatesItsRow:
            return row("BEFORE DELETE", "UPDATE mcp_sessions SET client_id = 'x' WHERE id = OLD.id; RETURN OLD;")
        case .softDeletes:
            return row(
                "BEFORE DELETE",
                "UPDATE mcp_sessions SET updated_at = now(), expires_at = 'infinity' WHERE id = OLD.id; RETURN NULL;")
        case .guardsAgainstMassDeletes:
            return statement(
                "AFTER DELETE", "REFERENCING OLD TABLE AS gone",
                "IF (SELECT count(*) FROM gone) > 7 THEN \(Self.raise()) END IF; RETURN NULL;")
        case .deletesOthers: return row("AFTER DELETE", "DELETE FROM mcp_sessions WHERE \(others); RETURN NULL;")
        case .renewsOthers:
            return row(
                "AFTER DELETE",
                "UPDATE mcp_sessions SET updated_at = now(), expires_at = 'infinity' WHERE \(others); RETURN NULL;")
        }
    }

    /// Words in the message of each error that a trigger of a shape raises.
    static let raisedText = "by the test"

    private static func raise(_ code: String = "P0001") -> String {
        "RAISE EXCEPTION 'SECRET \(raisedText)' USING ERRCODE = '\(code)';"
    }

    private static func function(_ body: String) -> String {
        """
        CREATE TABLE audit (session_id TEXT); GRANT INSERT ON audit TO PUBLIC;
        CREATE FUNCTION shape() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN \(body) END $$;
        """
    }

    private func row(_ event: String, _ body: String, isDeferred: Bool = false) -> String {
        // Partitions get the trigger of their table, inheritance children do not.
        let tables = ["mcp_sessions"] + (layout == .inheritance ? parts : [])
        return Self.function(body)
            + tables.map { table in
                """
                CREATE \(isDeferred ? "CONSTRAINT " : "")TRIGGER shape \(event) ON \(table)
                    \(isDeferred ? "DEFERRABLE INITIALLY DEFERRED " : "")FOR EACH ROW EXECUTE FUNCTION shape();
                """
            }.joined(separator: "\n")
    }

    private func statement(_ event: String, _ referencing: String, _ body: String) -> String {
        Self.function(body)
            + "CREATE TRIGGER shape \(event) ON mcp_sessions \(referencing) FOR EACH STATEMENT EXECUTE FUNCTION shape();"
    }

    private func policies(role: String, authenticated: String) -> String {
        guard security.hasPolicies else { return "" }
        // As in the SDK's migration for Supabase.
        let ofSDK = ["SELECT", "UPDATE", "DELETE"].map { command in
            """
            CREATE POLICY "Users can \(command) their own sessions" ON mcp_sessions FOR \(command) TO \(authenticated)
                USING (auth.uid()::text = user_id);
            """
        }.joined(separator: "\n")
        let all = "CREATE POLICY service ON mcp_sessions FOR ALL TO \(role) USING (true) WITH CHECK (true);"
        let own =
            switch security {
            case .superuser, .leastPrivilege: ""
            case .policyOfRole: ofSDK + all
            case .policyOfPublic: ofSDK + "CREATE POLICY service ON mcp_sessions USING (true);"
            case .policyForEachCommand:
                ofSDK
                    + ["SELECT", "UPDATE", "DELETE"].map {
                        "CREATE POLICY service_\($0) ON mcp_sessions FOR \($0) TO \(role) USING (true);"
                    }.joined()
            case .memberOfAuthenticated: ofSDK + all + "GRANT \(authenticated) TO \(role);"
            case .policyByFunction:
                ofSDK + "CREATE POLICY service ON mcp_sessions USING (auth.role() = 'service_role');"
            case .restrictivePolicy:
                all + "CREATE POLICY own ON mcp_sessions AS RESTRICTIVE USING (auth.uid()::text = user_id);"
            }
        return """
            CREATE SCHEMA auth; GRANT USAGE ON SCHEMA auth TO PUBLIC;
            CREATE FUNCTION auth.uid() RETURNS UUID STABLE LANGUAGE sql AS
                $$ SELECT nullif(current_setting('request.jwt.claim.sub', true), '')::uuid $$;
            CREATE FUNCTION auth.role() RETURNS TEXT STABLE LANGUAGE sql AS
                $$ SELECT nullif(current_setting('request.jwt.claim.role', true), '') $$;
            ALTER TABLE mcp_sessions ENABLE ROW LEVEL SECURITY;
            \(own)
            """
    }

    /// The statement with which another transaction locks rows before the run; `nil` where none does.
    var lock: String? {
        let some = "session_id LIKE 'due-%' AND substr(session_id, 5)::int % 15 = 0"
        return switch holder {
        case .nothing: nil
        case .sessions: "SELECT FROM mcp_sessions WHERE \(some) FOR UPDATE"
        case .sessionsForKeyShare: "SELECT FROM mcp_sessions WHERE \(some) FOR KEY SHARE"
        case .children: "SELECT FROM child WHERE session IN (SELECT id FROM mcp_sessions WHERE \(some)) FOR UPDATE"
        }
    }
}
