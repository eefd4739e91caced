@testable import Postgres
import SessionCleanup
import Testing

@Suite struct InspectionTests {
    private static let table = SessionTable(name: .sessions, schema: .auto)

    /// What the server says about a table of the seed, with some columns of the answer changed.
    private static func inspection(_ changes: [String: String?] = [:]) throws -> Inspection {
        var values: [String: String?] = [
            "clock": "2026-05-13T12:05:00.25", "server_version": "150004", "is_in_recovery": "f", "role": "me",
            "kind": "r", "has_children": "f", "can_use_schema": "t", "can_select": "t", "can_update": "t",
            "can_delete": "t", "is_row_security_active": "f", "type_of_active": "boolean", "type_of_status": nil,
            "type_of_expires_at": "timestamp with time zone", "type_of_updated_at": "timestamp with time zone",
            "has_history": "f", "can_use_history_schema": nil, "can_select_history": nil, "can_insert_history": nil,
            "can_update_history": nil, "can_delete_history": nil, "is_history_row_security_active": nil,
        ]
        for (column, value) in changes { values.updateValue(value, forKey: column) }
        let row = QueryResult.Row(columns: Array(values.keys), values: Array(values.values))
        return try Inspection(server: row, tables: row)
    }

    private static let missing: [String: String?] = [
        "kind": nil, "has_children": nil, "can_use_schema": nil, "can_select": nil, "can_update": nil,
        "can_delete": nil,
        "is_row_security_active": nil, "type_of_active": nil, "type_of_expires_at": nil, "type_of_updated_at": nil,
    ]

    @Test func readsTheServersAnswer() throws {
        let inspection = try Self.inspection(["has_children": "t", "is_row_security_active": "t", "can_delete": "f"])
        #expect("\(inspection.clock)" == "2026-05-13T12:05:00.250Z")
        #expect(inspection.serverVersion == 150_004)
        #expect(inspection.hasChildren)
        #expect(inspection.isRowSecurityActive)
        #expect(inspection.missingPrivileges == ["DELETE"])
        #expect(
            inspection.columnTypes == [
                "active": "boolean", "expires_at": "timestamp with time zone", "updated_at": "timestamp with time zone",
            ])
    }

    @Test func theClockMustBeATime() {
        #expect(throws: PostgresError.unexpectedAnswer("column clock is not a time")) {
            try Self.inspection(["clock": "infinity"])
        }
    }

    private static let both: [String: String?] = ["type_of_status": "text"]
    private static let neither: [String: String?] = ["type_of_active": nil]
    private static let successor: [String: String?] = ["type_of_active": nil, "type_of_status": "text"]

    @Test(arguments: [
        ([:], SessionSchema.auto, SchemaGeneration.active),
        (successor, .auto, .status),
        (["type_of_active": nil, "type_of_status": "character varying"], .auto, .status),
        (both, .active, .active),
        (both, .status, .status),
        (["kind": "p"], .auto, .active),
    ])
    func findsTheGeneration(changes: [String: String?], schema: SessionSchema, generation: SchemaGeneration) throws {
        let table = SessionTable(name: .sessions, schema: schema)
        #expect(try Self.inspection(changes).generation(of: table, for: .deleting) == generation)
    }

    /// Each obstacle hides those behind it: every case has all the later ones as well.
    @Test func namesTheFirstObstacleInTheOrderInWhichOneWouldLook() throws {
        let order: [([String: String?], RunFailure)] = [
            (["server_version": "130011"], .serverTooOld(version: 130_011)),
            (["is_in_recovery": "t"], .serverReadOnly),
            (["kind": nil], .tableMissing(.sessions)),
            (["kind": "v"], .notATable(.sessions)),
            (
                ["can_use_schema": "f"],
                .privilegesMissing(.sessions, role: "me", isOnSchema: true, ["SELECT", "DELETE"])
            ),
            (
                ["can_select": "f", "can_delete": "f"],
                .privilegesMissing(.sessions, role: "me", isOnSchema: false, ["SELECT", "DELETE"])
            ),
            (["type_of_active": nil], .generationUndecided(.sessions, hasBoth: false)),
        ]
        for index in order.indices {
            var changes: [String: String?] = [:]
            for (later, _) in order[index...].reversed() { changes.merge(later) { $1 } }
            let inspection = try Self.inspection(changes)
            #expect(throws: order[index].1) { try inspection.generation(of: Self.table, for: .deleting) }
        }
    }

    @Test(arguments: [
        (missing, SessionSchema.auto, RunFailure.tableMissing(.sessions)),
        (["kind": "f"], .auto, .notATable(.sessions)),
        (["kind": "m"], .auto, .notATable(.sessions)),
        (["kind": "S"], .auto, .notATable(.sessions)),
        (["can_update": "f"], .auto, .privilegesMissing(.sessions, role: "me", isOnSchema: false, ["UPDATE"])),
        (both, .auto, .generationUndecided(.sessions, hasBoth: true)),
        (neither, .auto, .generationUndecided(.sessions, hasBoth: false)),
        ([:], .status, .columnMissing(.sessions, column: "status")),
        (successor, .active, .columnMissing(.sessions, column: "active")),
        (["type_of_expires_at": nil], .auto, .columnMissing(.sessions, column: "expires_at")),
        (["type_of_updated_at": nil], .auto, .columnMissing(.sessions, column: "updated_at")),
        (
            ["type_of_active": "integer"], .auto,
            .columnType(.sessions, column: "active", found: "integer", expected: "boolean")
        ),
        (
            ["type_of_active": nil, "type_of_status": "session_status"], .auto,
            .columnType(.sessions, column: "status", found: "session_status", expected: "text")
        ),
        (
            ["type_of_expires_at": "timestamp without time zone"], .auto,
            .columnType(
                .sessions, column: "expires_at", found: "timestamp without time zone",
                expected: "timestamp with time zone")
        ),
        (
            ["type_of_updated_at": "date"], .auto,
            .columnType(.sessions, column: "updated_at", found: "date", expected: "timestamp with time zone")
        ),
    ])
    func refusesATableThatItCannotJudge(changes: [String: String?], schema: SessionSchema, failure: RunFailure) throws {
        let table = SessionTable(name: .sessions, schema: schema)
        let inspection = try Self.inspection(changes)
        #expect(throws: failure) { try inspection.generation(of: table, for: .deleting) }
    }

    @Test func readingWorksOnAStandbyAndWithSelectAlone() throws {
        let inspection = try Self.inspection(["is_in_recovery": "t", "can_update": "f", "can_delete": "f"])
        #expect(try inspection.generation(of: Self.table, for: .reading) == .active)
        let blind = try Self.inspection(["can_select": "f"])
        #expect(throws: RunFailure.privilegesMissing(.sessions, role: "me", isOnSchema: false, ["SELECT"])) {
            try blind.generation(of: Self.table, for: .reading)
        }
    }
}
