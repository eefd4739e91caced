/// Five characters: PostgreSQL manual, appendix A.
package struct SQLState: RawRepresentable, Hashable, Sendable, CustomStringConvertible, ExpressibleByStringLiteral {
    package let rawValue: String

    package init(rawValue: String) { self.rawValue = rawValue }
    package init(stringLiteral value: String) { rawValue = value }

    /// The first two characters, which name the kind of condition: `08` is a connection exception.
    package var conditionClass: String { String(rawValue.prefix(2)) }

    /// Five digits and capital letters, as the server and PL/pgSQL require.
    var isWellFormed: Bool {
        rawValue.utf8.count == 5 && rawValue.utf8.allSatisfy { (48...57).contains($0) || (65...90).contains($0) }
    }

    package var description: String { rawValue }
}

/// A condition of PostgreSQL's manual, appendix A: the name of an SQLSTATE, and when its message may be shown.
struct Condition: Sendable {
    let name: String
    let text: Text

    /// When the primary message of an error may be shown, if no CONTEXT came with it. Every message of code in a
    /// procedural language has a CONTEXT; one of a built-in function that a trigger's WHEN or a CHECK calls has none.
    enum Text: Substring, Sendable {
        /// Always: the server's own messages of this code quote no value of a row.
        case shown
        /// If the error ended the connection, as a refused login does. Otherwise the name in it may be from a row:
        /// functions such as `pg_database_size` take the name of a database or a role.
        case login
        /// Unless it has quotation marks, which enclose, for example, a file's name that may be from a row.
        case unquoted
        /// If the message has a position in our statement, since it then quotes this statement. Otherwise it may quote
        /// a text that was read as a name, as by `to_regclass` or a cast.
        case quoted
        /// Never: the server's own messages quote values of rows, texts of another server, or names, which need not be
        /// those of the catalog; or applications raise this code. Codes that are not listed here count as hidden too.
        case hidden
    }

    /// The codes whose text may be shown, and those of the other codes that a cleanup may meet.
    static let all: [SQLState: Condition] = {
        var conditions: [SQLState: Condition] = [:]
        var text = Text.hidden
        for line in table.split(separator: "\n") {
            if let kind = Text(rawValue: line.prefix { $0 != ":" }) { text = kind }
            for entry in line.split(separator: " ") where entry.contains("=") {
                let parts = entry.split(separator: "=").map(String.init)
                conditions[SQLState(rawValue: parts[0])] = Condition(name: parts[1], text: text)
            }
        }
        return conditions
    }()

    /// Headings say when a text may be shown and what the server's own messages consist of; then codes and conditions.
    private static let table = """
        shown: fixed text
        21000=cardinality_violation 22012=division_by_zero 25P02=in_failed_sql_transaction
        25P03=idle_in_transaction_session_timeout 25P04=transaction_timeout 27000=triggered_data_change_violation
        40001=serialization_failure 40P01=deadlock_detected 53200=out_of_memory 54001=statement_too_complex
        57014=query_canceled 57P01=admin_shutdown 57P02=crash_shutdown 57P03=cannot_connect_now 57P04=database_dropped
        57P05=idle_session_timeout 72000=snapshot_too_old
        shown: names of commands
        25001=active_sql_transaction 25006=read_only_sql_transaction 25P01=no_active_sql_transaction
        shown: numbers, sizes, settings, and objects that are in the catalog
        2BP01=dependent_objects_still_exist 42710=duplicate_object 42P04=duplicate_database 42P06=duplicate_schema
        42P07=duplicate_table 53400=configuration_limit_exceeded 54011=too_many_columns 54023=too_many_arguments
        55000=object_not_in_prerequisite_state 55006=object_in_use 55P03=lock_not_available XX002=index_corrupted
        shown: the protocol, and names that only the client gives; by PgBouncer role and database
        08P01=protocol_violation 26000=invalid_sql_statement_name 3B001=invalid_savepoint_specification
        login: role, database and host, as in the database URL
        28000=invalid_authorization_specification 28P01=invalid_password 3D000=invalid_catalog_name
        53300=too_many_connections
        unquoted: numbers, sizes, and objects that are in the catalog; in quotes files, settings, roles
        42501=insufficient_privilege 53000=insufficient_resources 53100=disk_full 58030=io_error XX001=data_corrupted
        quoted
        0A000=feature_not_supported 42601=syntax_error 42702=ambiguous_column 42703=undefined_column
        42704=undefined_object 42725=ambiguous_function 42803=grouping_error 42804=datatype_mismatch
        42809=wrong_object_type 42846=cannot_coerce 42883=undefined_function 42P01=undefined_table
        42P02=undefined_parameter 42P10=invalid_column_reference 42P18=indeterminate_datatype 42P20=windowing_error
        42P21=collation_mismatch 42P22=indeterminate_collation
        hidden
        00000=successful_completion 01000=warning 08000=connection_exception
        08001=sqlclient_unable_to_establish_sqlconnection 08003=connection_does_not_exist
        08004=sqlserver_rejected_establishment_of_sqlconnection 08006=connection_failure 22000=data_exception
        22001=string_data_right_truncation 22003=numeric_value_out_of_range 22004=null_value_not_allowed
        22007=invalid_datetime_format 22008=datetime_field_overflow 22015=interval_field_overflow
        22018=invalid_character_value_for_cast 22021=character_not_in_repertoire 22023=invalid_parameter_value
        2202E=array_subscript_error 22P02=invalid_text_representation 22P05=untranslatable_character
        23000=integrity_constraint_violation 23001=restrict_violation 23502=not_null_violation
        23503=foreign_key_violation 23505=unique_violation 23514=check_violation 23P01=exclusion_violation
        2F000=sql_routine_exception 38000=external_routine_exception 39000=external_routine_invocation_exception
        39P01=trigger_protocol_violated 3F000=invalid_schema_name 40000=transaction_rollback
        40002=transaction_integrity_constraint_violation 40003=statement_completion_unknown
        42000=syntax_error_or_access_rule_violation 42602=invalid_name 42P17=invalid_object_definition
        42P19=invalid_recursion 44000=with_check_option_violation 54000=program_limit_exceeded
        55P02=cant_change_runtime_param 57000=operator_intervention 58000=system_error 58P01=undefined_file
        F0000=config_file_error HV000=fdw_error HV00N=fdw_unable_to_establish_connection P0000=plpgsql_error
        P0001=raise_exception P0002=no_data_found P0003=too_many_rows P0004=assert_failure XX000=internal_error
        """
}
