import Foundation
import Postgres
import TestServers

/// Functions, operators, types and views of another role, named like those of pg_catalog that statements use. Each writes
/// to the server's log when it runs, and answers what pg_catalog's would.
struct Shadows {
    /// Words in the server's log that nothing else writes.
    static let mark = "a shadow ran:"

    let names: StatementNames

    /// Makes them in a schema.
    ///
    /// - Parameter role: their owner, which may create in the schema and has no other privilege.
    /// - Returns: how many there are of each kind.
    func make(
        in schema: String, of database: String, on server: PostgresServer, as role: String
    ) async throws -> [String: Int] {
        let identifiers = names.identifiers.sorted().map(SQL.literal).joined(separator: ", ")
        // IN, BETWEEN, CASE, NULLIF, IS DISTINCT FROM and LIKE mean operators that the text does not show.
        let operators = names.operators.union(["=", "<>", "<", "<=", ">", ">=", "~~"]).sorted()
            .map(SQL.literal).joined(separator: ", ")
        let connection = try await server.connect(database, user: role)
        let results = try await connection.script(
            """
            SET search_path = pg_catalog, pg_temp;
            SET client_min_messages = error;
            \(Self.sql.replacingOccurrences(of: "@schema", with: schema)
                .replacingOccurrences(of: "@identifiers", with: identifiers)
                .replacingOccurrences(of: "@operators", with: operators))
            """, deadline: .now + .seconds(300))
        await connection.close()
        var counts: [String: Int] = [:]
        for row in results.last?.rows ?? [] { counts[try row.text("kind")] = try row.integer("count") }
        return counts
    }

    /// For each name, every combination of argument types that pg_catalog answers, so that one of the shadows is an exact
    /// match for every type of argument.
    private static let sql = #"""
        CREATE OR REPLACE FUNCTION @schema.caught(what pg_catalog.text) RETURNS boolean LANGUAGE plpgsql AS
        $f$BEGIN RAISE LOG 'a shadow ran: %', what; RETURN true; END$f$;
        CREATE TEMP TABLE made (kind text);
        DO $do$
        DECLARE
            types text[] := ARRAY['bool', '"char"', 'name', 'int8', 'int2', 'int4', 'regproc', 'text', 'oid', 'tid', 'json',
                'jsonb', 'jsonpath', 'float8', 'timestamp', 'timestamptz', 'interval', 'numeric', 'varchar', 'bpchar',
                'regclass', 'xid', 'tid[]', 'text[]', 'oid[]', 'int2[]', 'int2vector', 'oidvector', 'aclitem[]'];
            lists text[];
            name text;
            list text;
            l text;
            r text;
            result text;
            number int := 0;
            overload record;
        BEGIN
            FOR name IN SELECT DISTINCT proname FROM pg_proc
                         WHERE pronamespace = 'pg_catalog'::regnamespace AND proname IN (@identifiers)
            LOOP
                lists := ARRAY[]::text[];
                FOR overload IN SELECT p.pronargs, oidvectortypes(p.proargtypes) AS list FROM pg_proc AS p
                                 WHERE p.proname = name AND pronamespace = 'pg_catalog'::regnamespace
                LOOP
                    lists := lists || overload.list || replace(overload.list, 'text', 'name')
                        || replace(overload.list, 'text', 'varchar');
                    IF overload.pronargs = 1 OR overload.list = '"any"' THEN lists := lists || types; END IF;
                    IF overload.pronargs = 2 THEN
                        lists := lists || (SELECT array_agg(a || ', ' || b) FROM unnest(types) AS a, unnest(types) AS b);
                    END IF;
                END LOOP;
                FOR list IN SELECT DISTINCT unnest(lists) LOOP
                    BEGIN
                        EXECUTE format('SELECT format_type(pg_typeof(pg_catalog.%I(%s)), NULL)', name,
                            (SELECT string_agg('NULL::' || t, ', ') FROM unnest(string_to_array(list, ', ')) AS t
                              WHERE t <> '')) INTO result;
                        CONTINUE WHEN result IS NULL OR result IN ('unknown', 'void', 'record');
                        EXECUTE format('CREATE FUNCTION @schema.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', name, list, result,
                            format('BEGIN RAISE LOG %L; RETURN pg_catalog.%I(%s); END', 'a shadow ran: ' || name || '(' ||
                                list || ')', name, (SELECT string_agg('$' || n, ', ')
                                    FROM generate_series(1, cardinality(string_to_array(list, ', '))) AS n)));
                        INSERT INTO made VALUES ('function');
                    EXCEPTION WHEN OTHERS THEN NULL;
                    END;
                END LOOP;
            END LOOP;
            FOR name, l, r IN SELECT o, a, b FROM unnest(ARRAY[@operators]) AS o, unnest(types) AS a, unnest(types) AS b
            LOOP
                BEGIN
                    EXECUTE format('SELECT format_type(pg_typeof(NULL::%s OPERATOR(pg_catalog.%s) NULL::%s), NULL)',
                        l, name, r) INTO result;
                    number := number + 1;
                    EXECUTE format('CREATE FUNCTION @schema.operator_%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS %L',
                        number, l, r, result, format('BEGIN RAISE LOG %L; RETURN $1 OPERATOR(pg_catalog.%s) $2; END',
                            'a shadow ran: ' || l || ' ' || name || ' ' || r, name));
                    EXECUTE format('CREATE OPERATOR @schema.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = @schema.operator_%s)',
                        name, l, r, number);
                    INSERT INTO made VALUES ('operator');
                EXCEPTION WHEN OTHERS THEN NULL;
                END;
            END LOOP;
            FOR name IN SELECT relname FROM pg_class
                         WHERE relnamespace = 'pg_catalog'::regnamespace AND relname IN (@identifiers)
            LOOP
                BEGIN
                    EXECUTE format('CREATE VIEW @schema.%I AS SELECT * FROM pg_catalog.%I WHERE @schema.caught(%L)',
                        name, name, name);
                    EXECUTE format('GRANT SELECT ON @schema.%I TO PUBLIC', name);
                    INSERT INTO made VALUES ('relation');
                EXCEPTION WHEN OTHERS THEN NULL;
                END;
            END LOOP;
            -- Last: its names are those of the types above.
            FOR name IN SELECT typname FROM pg_type
                         WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype = 'b' AND typname IN (@identifiers)
            LOOP
                BEGIN
                    EXECUTE format('CREATE DOMAIN @schema.%I AS pg_catalog.%I CHECK (@schema.caught(%L))', name, name, name);
                    INSERT INTO made VALUES ('type');
                EXCEPTION WHEN OTHERS THEN NULL;
                END;
            END LOOP;
        END $do$;
        SELECT kind, count(*) AS count FROM made GROUP BY kind
        """#
}
