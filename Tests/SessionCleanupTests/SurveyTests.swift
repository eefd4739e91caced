@testable import Postgres
@testable import SessionCleanup
import Testing

@Suite struct SurveyTests {
    private static let table = SessionTable(name: .sessions, schema: .auto)

    /// The survey of a table of the seed, with some columns of the server's answer changed. `type_of_…` stands for the
    /// type of a column.
    private static func survey(
        _ changes: [String: String?] = [:], of table: SessionTable = table
    ) throws -> Survey {
        var values: [String: String?] = [
            "clock": "1778673900.250000", "synchronous_commit": "on", "client_min_messages": "notice",
            "deadlock_timeout": "1s",
            "server_version": "150004", "is_in_recovery": "off", "role": "me", "oid": "16385", "kind": "r",
            "has_children": "f", "can_use_schema": "t", "can_select": "t", "can_update": "t", "can_delete": "t",
            "type_of_active": "16 boolean", "type_of_status": nil,
            "type_of_expires_at": "1184 timestamp with time zone",
            "type_of_updated_at": "1184 timestamp with time zone",
            "has_history": "f", "can_use_history_schema": nil, "can_select_history": nil, "can_insert_history": nil,
            "can_update_history": nil, "can_delete_history": nil, "history_columns": "{}", "history_indexes": "{}",
            "has_delete_rule": "f", "is_row_security_active": "f", "refuses_filters": "f", "can_update_columns": nil,
        ]
        for (column, value) in changes { values.updateValue(value, forKey: column) }
        let types = values.compactMap { name, type in
            type.flatMap {
                name.hasPrefix("type_of_") ? (name.dropFirst(8), $0.split(separator: " ", maxSplits: 1)) : nil
            }
        }
        values["columns"] = "{\(types.map { #""(1,\#($1[0]),\#($0))""# }.joined(separator: ","))}"
        values["types"] = "{\(types.map { #""(\#($1[0]),\"\#($1[1])\")""# }.joined(separator: ","))}"
        let row = QueryResult.Row(columns: Array(values.keys), values: Array(values.values))
        var survey = try Survey(of: table, server: row, tables: row)
        try survey.add(details: row)
        return survey
    }

    private static let missing: [String: String?] = [
        "kind": nil, "has_children": nil, "can_use_schema": nil, "can_select": nil, "can_update": nil,
        "can_delete": nil,
        "is_row_security_active": nil, "type_of_active": nil, "type_of_expires_at": nil, "type_of_updated_at": nil,
    ]

    @Test func readsTheServersAnswer() throws {
        let survey = try Self.survey(["has_children": "t", "is_row_security_active": "t", "can_delete": "f"])
        #expect("\(survey.clock)" == "2026-05-13T12:05:00.250Z")
        #expect(survey.serverVersion == 150_004)
        #expect(survey.hasChildren)
        #expect(survey.isRowSecurityActive)
        #expect(survey.missingPrivileges == ["DELETE"])
        #expect(
            survey.columnTypes == [
                "active": .boolean, "expires_at": .timestamp, "updated_at": .timestamp,
            ])
    }

    @Test func theClockMustBeATime() {
        #expect(throws: PostgresError.unexpectedAnswer("column clock is not a time")) {
            try Self.survey(["clock": "infinity"])
        }
    }

    private static let both: [String: String?] = ["type_of_status": "25 text"]
    private static let neither: [String: String?] = ["type_of_active": nil]
    private static let successor: [String: String?] = ["type_of_active": nil, "type_of_status": "25 text"]

    @Test(arguments: [
        ([:], SessionSchema.auto, SchemaGeneration.active),
        (successor, .auto, .status),
        (["type_of_active": nil, "type_of_status": "1043 character varying"], .auto, .status),
        (both, .active, .active),
        (both, .status, .status),
        (["kind": "p"], .auto, .active),
    ])
    func findsTheGeneration(changes: [String: String?], schema: SessionSchema, generation: SchemaGeneration) throws {
        let table = SessionTable(name: .sessions, schema: schema)
        #expect(try Self.survey(changes, of: table).generation(for: .deleting) == generation)
    }

    /// Each obstacle hides those behind it: every case has all the later ones as well.
    @Test func namesTheFirstObstacleInTheOrderInWhichOneWouldLook() throws {
        let order: [([String: String?], RunFailure)] = [
            (["server_version": "130011"], .serverTooOld(version: 130_011)),
            (["is_in_recovery": "on"], .serverReadOnly),
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
            let survey = try Self.survey(changes)
            #expect(throws: order[index].1) { try survey.generation(for: .deleting) }
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
            ["type_of_active": "23 integer"], .auto,
            .columnType(.sessions, column: "active", found: "integer", expected: "boolean")
        ),
        (
            ["type_of_active": nil, "type_of_status": "16400 session_status"], .auto,
            .columnType(.sessions, column: "status", found: "session_status", expected: "text")
        ),
        (
            ["type_of_expires_at": "1114 timestamp without time zone"], .auto,
            .columnType(
                .sessions, column: "expires_at", found: "timestamp without time zone",
                expected: "timestamp with time zone")
        ),
        (
            ["type_of_updated_at": "1082 date"], .auto,
            .columnType(.sessions, column: "updated_at", found: "date", expected: "timestamp with time zone")
        ),
    ])
    func refusesATableThatItCannotJudge(changes: [String: String?], schema: SessionSchema, failure: RunFailure) throws {
        let table = SessionTable(name: .sessions, schema: schema)
        let survey = try Self.survey(changes, of: table)
        #expect(throws: failure) { try survey.generation(for: .deleting) }
    }

    @Test func readingWorksOnAStandbyAndWithSelectAlone() throws {
        let survey = try Self.survey(["is_in_recovery": "on", "can_update": "f", "can_delete": "f"])
        #expect(try survey.generation(for: .reading) == .active)
        let blind = try Self.survey(["can_select": "f"])
        #expect(throws: RunFailure.privilegesMissing(.sessions, role: "me", isOnSchema: false, ["SELECT"])) {
            try blind.generation(for: .reading)
        }
    }

    /// The condition is read as a tree: to have the server write it as SQL would cost as much as the whole survey.
    @Test(arguments: [
        ("7", "114 117 110 110 105 110 103", false), ("8", "114 117 110 110 105 110 103", true),
        ("7", "114 117 110 110 105 110 104", true),
    ])
    func knowsTheIndexOfRunningRunsByTheServersOwnTree(column: String, bytes: String, isUnknown: Bool) throws {
        let tree =
            "{OPEXPR :opno 98 :opfuncid 67 :args ({VAR :varno 1 :varattno \(column) :varattnosyn 7 :location 87} "
            + "{CONST :consttype 25 :constvalue 11 [ 44 0 0 0 \(bytes) ]}) :location 94}"
        let survey = try Self.survey([
            "has_history": "t", "history_columns": #"{"(2,25,job)","(7,25,status)","(8,25,origin)"}"#,
            "history_indexes": #"{"(2,\"\#(tree)\")"}"#, "history_types": "{}", "is_history_trusted": "t",
            "history_owner": "me", "is_history_row_security_active": "f",
        ])
        #expect(survey.history.hasUnknownIndex == isUnknown)
    }
}
