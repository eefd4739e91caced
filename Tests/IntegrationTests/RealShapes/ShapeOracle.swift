import Postgres
import TestServers

/// The expected result of a run over a shape of database, by brute force: each due row is deleted alone, in repeated passes
/// over the due rows until a pass deletes none; then all is rolled back.
struct ShapeOracle: Hashable, Sendable {
    let deleted: Int
    let skipped: Int
    let refused: Int
    /// The state of all tables afterwards, as text.
    let state: String

    /// Tries to delete each due row in `database`, and rolls all of it back.
    init(_ shape: Shape, in database: SessionsDatabase) async throws {
        let connection = try await database.server.connect(database.name)
        let results = try await connection.script(
            """
            BEGIN; SET LOCAL lock_timeout = '5ms';
            CREATE TEMPORARY TABLE account (deleted INTEGER, skipped INTEGER, refused INTEGER);
            \(Self.passes(shape));
            SELECT deleted, skipped, refused FROM account;
            \(Self.state(of: shape));
            ROLLBACK
            """, deadline: .now + .seconds(60))
        await connection.close()
        let account = try results[results.count - 3].onlyRow()
        deleted = try account.integer("deleted")
        skipped = try account.integer("skipped")
        refused = try account.integer("refused")
        state = try results[results.count - 2].onlyRow().text("state")
    }

    /// Returns a query for the state of a shape's tables: each session's ID and if it is due, the number of children,
    /// of sessions with a parent, and of rows in the audit.
    static func state(of shape: Shape) -> String {
        let children =
            shape.key == .none || shape.key.isOwn
            ? "''" : "(SELECT count(session) || ' of ' || count(*) || ' children' FROM child)"
        let parents = shape.key.isOwn ? "(SELECT count(parent) || ' parents' FROM mcp_sessions)" : "''"
        let audit = shape.trigger == .none ? "''" : "(SELECT count(*) || ' in the audit' FROM audit)"
        return """
            SELECT concat_ws('; ', (SELECT string_agg(session_id || CASE WHEN \(shape.due) THEN ' due' ELSE '' END, ' '
                       ORDER BY session_id) FROM mcp_sessions), \(children), \(parents), \(audit)) AS state
            """
    }

    private static func passes(_ shape: Shape) -> String {
        """
        DO $do$
        DECLARE r RECORD; total INTEGER := 0; deleted INTEGER; skipped INTEGER; refused INTEGER; count INTEGER;
        BEGIN
            LOOP
                deleted := 0; skipped := 0; refused := 0;
                FOR r IN SELECT id FROM mcp_sessions WHERE \(shape.due) ORDER BY expires_at, updated_at LOOP
                    BEGIN
                        DELETE FROM mcp_sessions WHERE id = r.id AND \(shape.due);
                        GET DIAGNOSTICS count = ROW_COUNT;
                        SET CONSTRAINTS ALL IMMEDIATE;
                        deleted := deleted + count;
                        IF count = 0 AND EXISTS (SELECT FROM mcp_sessions WHERE id = r.id AND \(shape.due)) THEN
                            refused := refused + 1;
                        END IF;
                    EXCEPTION WHEN OTHERS OR query_canceled THEN
                        IF SQLSTATE = '55P03' AND SQLERRM NOT LIKE '%\(Shape.raisedText)%' THEN
                            skipped := skipped + 1;
                        ELSE
                            refused := refused + 1;
                        END IF;
                    END;
                END LOOP;
                total := total + deleted;
                EXIT WHEN deleted = 0;
            END LOOP;
            INSERT INTO account VALUES (total, skipped, refused);
        END $do$
        """
    }
}
