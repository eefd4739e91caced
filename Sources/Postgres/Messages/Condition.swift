/// The conditions of PostgreSQL's manual, appendix A: the name of each SQLSTATE, and if the text that comes with it may be
/// shown.
struct Condition: Sendable {
    let name: String
    let text: Text

    /// Where the primary message of an error of this code may go. Each holds for messages without a CONTEXT only, which
    /// every message of code in a procedural language has; but not one of a function that PostgreSQL brings, called by a
    /// trigger's WHEN, a CHECK or an expression of an index.
    enum Text: Substring, Sendable {
        /// Into every output: the server's own messages of this code quote no value of a row.
        case shown
        /// Into every output if the error ended the connection, as a login that is refused; else nowhere: functions take the
        /// name of a database or a role from a row, as `pg_database_size` does.
        case login
        /// Into every output if nothing in it stands in quotation marks, as the name of a file does, which may be from a
        /// row; else nowhere.
        case unquoted
        /// Into every output if the message has a position in our statement, since it then quotes this statement; else
        /// nowhere: the same code is raised for texts that are read as a name, as `to_regclass` and casts do.
        case quoted
        /// Nowhere: the server's own messages of this code quote values of rows, or texts of another server.
        case value
        /// Nowhere: they quote names, which need not be those of the catalog.
        case name
        /// Nowhere: applications raise this code themselves, or it is about their rows.
        case user
        /// Nowhere: no statement of ours meets with it.
        case unused
    }

    /// Returns what appendix A says of a code; `nil` for a code that is not in it.
    static func named(_ state: SQLState) -> Condition? { all[state] }

    /// Every code of the table. Read on first use, which is the first error.
    static let all: [SQLState: Condition] = {
        var conditions: [SQLState: Condition] = [:]
        for line in table.split(separator: "\n") {
            let words = line.split(separator: " ", maxSplits: 3).map { $0.last == ":" ? $0.dropLast() : $0 }
            guard words.count >= 3, let text = Text(rawValue: words[1]) else { preconditionFailure("\(line)") }
            conditions[SQLState(rawValue: String(words[0]))] = Condition(name: String(words[2]), text: text)
        }
        return conditions
    }()

    /// The code, where its text may go, the condition's name; for `shown`, what the server's own messages consist of.
    private static let table = """
        00000 user successful_completion
        01000 user warning
        01003 unused null_value_eliminated_in_set_function
        01004 unused string_data_right_truncation
        01006 unused privilege_not_revoked
        01007 unused privilege_not_granted
        01008 unused implicit_zero_bit_padding
        0100C unused dynamic_result_sets_returned
        01P01 unused deprecated_feature
        02000 user no_data
        02001 user no_additional_dynamic_result_sets_returned
        03000 unused sql_statement_not_yet_complete
        08000 value connection_exception
        08001 value sqlclient_unable_to_establish_sqlconnection
        08003 value connection_does_not_exist
        08004 value sqlserver_rejected_establishment_of_sqlconnection
        08006 value connection_failure
        08007 value transaction_resolution_unknown
        08P01 shown protocol_violation: the protocol; PgBouncer: role, database
        09000 unused triggered_action_exception
        0A000 quoted feature_not_supported
        0B000 unused invalid_transaction_initiation
        0F000 unused locator_exception
        0F001 unused invalid_locator_specification
        0L000 name invalid_grantor
        0LP01 name invalid_grant_operation
        0P000 name invalid_role_specification
        0Z000 unused diagnostics_exception
        0Z002 unused stacked_diagnostics_accessed_without_active_handler
        10608 value invalid_argument_for_xquery
        20000 unused case_not_found
        21000 shown cardinality_violation: fixed text
        22000 value data_exception
        22001 value string_data_right_truncation
        22002 value null_value_no_indicator_parameter
        22003 value numeric_value_out_of_range
        22004 value null_value_not_allowed
        22005 value error_in_assignment
        22007 value invalid_datetime_format
        22008 value datetime_field_overflow
        22009 value invalid_time_zone_displacement_value
        2200B value escape_character_conflict
        2200C value invalid_use_of_escape_character
        2200D value invalid_escape_octet
        2200F value zero_length_character_string
        2200G value most_specific_type_mismatch
        2200H value sequence_generator_limit_exceeded
        2200L value not_an_xml_document
        2200M value invalid_xml_document
        2200N value invalid_xml_content
        2200S value invalid_xml_comment
        2200T value invalid_xml_processing_instruction
        22010 value invalid_indicator_parameter_value
        22011 value substring_error
        22012 shown division_by_zero: fixed text
        22013 value invalid_preceding_or_following_size
        22014 value invalid_argument_for_ntile_function
        22015 value interval_field_overflow
        22016 value invalid_argument_for_nth_value_function
        22018 value invalid_character_value_for_cast
        22019 value invalid_escape_character
        2201B value invalid_regular_expression
        2201E value invalid_argument_for_logarithm
        2201F value invalid_argument_for_power_function
        2201G value invalid_argument_for_width_bucket_function
        2201W value invalid_row_count_in_limit_clause
        2201X value invalid_row_count_in_result_offset_clause
        22021 value character_not_in_repertoire
        22022 value indicator_overflow
        22023 value invalid_parameter_value
        22024 value unterminated_c_string
        22025 value invalid_escape_sequence
        22026 value string_data_length_mismatch
        22027 value trim_error
        2202E value array_subscript_error
        2202G value invalid_tablesample_repeat
        2202H value invalid_tablesample_argument
        22030 value duplicate_json_object_key_value
        22031 value invalid_argument_for_sql_json_datetime_function
        22032 value invalid_json_text
        22033 value invalid_sql_json_subscript
        22034 value more_than_one_sql_json_item
        22035 value no_sql_json_item
        22036 value non_numeric_sql_json_item
        22037 value non_unique_keys_in_a_json_object
        22038 value singleton_sql_json_item_required
        22039 value sql_json_array_not_found
        2203A value sql_json_member_not_found
        2203B value sql_json_number_not_found
        2203C value sql_json_object_not_found
        2203D value too_many_json_array_elements
        2203E value too_many_json_object_members
        2203F value sql_json_scalar_required
        2203G value sql_json_item_cannot_be_cast_to_target_type
        22P01 value floating_point_exception
        22P02 value invalid_text_representation
        22P03 value invalid_binary_representation
        22P04 value bad_copy_file_format
        22P05 value untranslatable_character
        22P06 value nonstandard_use_of_escape_character
        23000 user integrity_constraint_violation
        23001 user restrict_violation
        23502 user not_null_violation
        23503 user foreign_key_violation
        23505 user unique_violation
        23514 user check_violation
        23P01 user exclusion_violation
        24000 name invalid_cursor_state
        25000 unused invalid_transaction_state
        25001 shown active_sql_transaction: names of commands
        25002 unused branch_transaction_already_active
        25003 unused inappropriate_access_mode_for_branch_transaction
        25004 unused inappropriate_isolation_level_for_branch_transaction
        25005 unused no_active_sql_transaction_for_branch_transaction
        25006 shown read_only_sql_transaction: names of commands
        25007 unused schema_and_data_statement_mixing_not_supported
        25008 unused held_cursor_requires_same_isolation_level
        25P01 shown no_active_sql_transaction: names of commands
        25P02 shown in_failed_sql_transaction: fixed text
        25P03 shown idle_in_transaction_session_timeout: fixed text
        25P04 shown transaction_timeout: fixed text
        26000 shown invalid_sql_statement_name: the name of a prepared statement; ours have none
        27000 shown triggered_data_change_violation: fixed text
        28000 login invalid_authorization_specification: role, database and host, as in the database URL
        28P01 login invalid_password: the role, as in the database URL
        2B000 name dependent_privilege_descriptors_still_exist
        2BP01 shown dependent_objects_still_exist: objects that are in the catalog
        2D000 unused invalid_transaction_termination
        2F000 unused sql_routine_exception
        2F002 unused modifying_sql_data_not_permitted
        2F003 value prohibited_sql_statement_attempted
        2F004 unused reading_sql_data_not_permitted
        2F005 unused function_executed_no_return_statement
        34000 name invalid_cursor_name
        38000 user external_routine_exception
        38001 user containing_sql_not_permitted
        38002 user modifying_sql_data_not_permitted
        38003 user prohibited_sql_statement_attempted
        38004 user reading_sql_data_not_permitted
        39000 user external_routine_invocation_exception
        39001 user invalid_sqlstate_returned
        39004 user null_value_not_allowed
        39P01 user trigger_protocol_violated
        39P02 user srf_protocol_violated
        39P03 user event_trigger_protocol_violated
        3B000 unused savepoint_exception
        3B001 shown invalid_savepoint_specification: the name of a savepoint, which only the client gives
        3D000 login invalid_catalog_name: the database, as in the database URL
        3F000 value invalid_schema_name
        40000 unused transaction_rollback
        40001 shown serialization_failure: fixed text
        40002 unused transaction_integrity_constraint_violation
        40003 unused statement_completion_unknown
        40P01 shown deadlock_detected: fixed text
        42000 name syntax_error_or_access_rule_violation
        42501 unquoted insufficient_privilege: objects that are in the catalog, the number of a large object; in quotes files, settings, roles
        42601 quoted syntax_error
        42602 value invalid_name
        42611 name invalid_column_definition
        42622 value name_too_long
        42701 name duplicate_column
        42702 quoted ambiguous_column
        42703 quoted undefined_column
        42704 quoted undefined_object
        42710 shown duplicate_object: objects that are in the catalog
        42712 name duplicate_alias
        42723 name duplicate_function
        42725 quoted ambiguous_function
        42803 quoted grouping_error
        42804 quoted datatype_mismatch
        42809 quoted wrong_object_type
        42830 name invalid_foreign_key
        42846 quoted cannot_coerce
        42883 quoted undefined_function
        428C9 name generated_always
        42939 value reserved_name
        42P01 quoted undefined_table
        42P02 quoted undefined_parameter
        42P03 name duplicate_cursor
        42P04 shown duplicate_database: objects that are in the catalog
        42P05 value duplicate_prepared_statement
        42P06 shown duplicate_schema: objects that are in the catalog
        42P07 shown duplicate_table: objects that are in the catalog
        42P08 name ambiguous_parameter
        42P09 name ambiguous_alias
        42P10 quoted invalid_column_reference
        42P11 name invalid_cursor_definition
        42P12 name invalid_database_definition
        42P13 name invalid_function_definition
        42P14 name invalid_prepared_statement_definition
        42P15 name invalid_schema_definition
        42P16 name invalid_table_definition
        42P17 name invalid_object_definition
        42P18 quoted indeterminate_datatype
        42P19 name invalid_recursion
        42P20 quoted windowing_error
        42P21 quoted collation_mismatch
        42P22 quoted indeterminate_collation
        44000 user with_check_option_violation
        53000 unquoted insufficient_resources: fixed text; in quotes files
        53100 unquoted disk_full: sizes; in quotes files
        53200 shown out_of_memory: fixed text
        53300 login too_many_connections: the role or the database, as in the database URL
        53400 shown configuration_limit_exceeded: settings and sizes
        54000 value program_limit_exceeded
        54001 shown statement_too_complex: fixed text
        54011 shown too_many_columns: numbers
        54023 shown too_many_arguments: numbers
        55000 shown object_not_in_prerequisite_state: objects that are in the catalog
        55006 shown object_in_use: objects that are in the catalog
        55P02 unused cant_change_runtime_param
        55P03 shown lock_not_available: tables that are in the catalog
        55P04 value unsafe_new_enum_value_usage
        57000 name operator_intervention
        57014 shown query_canceled: fixed text
        57P01 shown admin_shutdown: fixed text
        57P02 shown crash_shutdown: fixed text
        57P03 shown cannot_connect_now: fixed text
        57P04 shown database_dropped: fixed text
        57P05 shown idle_session_timeout: fixed text
        58000 value system_error
        58030 unquoted io_error: in quotes files
        58P01 value undefined_file
        58P02 value duplicate_file
        58P03 value file_name_too_long
        72000 shown snapshot_too_old: fixed text
        F0000 unused config_file_error
        F0001 unused lock_file_exists
        HV000 value fdw_error
        HV001 value fdw_out_of_memory
        HV002 value fdw_dynamic_parameter_value_needed
        HV004 value fdw_invalid_data_type
        HV005 value fdw_column_name_not_found
        HV006 value fdw_invalid_data_type_descriptors
        HV007 value fdw_invalid_column_name
        HV008 value fdw_invalid_column_number
        HV009 value fdw_invalid_use_of_null_pointer
        HV00A value fdw_invalid_string_format
        HV00B value fdw_invalid_handle
        HV00C value fdw_invalid_option_index
        HV00D value fdw_invalid_option_name
        HV00J value fdw_option_name_not_found
        HV00K value fdw_reply_handle
        HV00L value fdw_unable_to_create_execution
        HV00M value fdw_unable_to_create_reply
        HV00N value fdw_unable_to_establish_connection
        HV00P value fdw_no_schemas
        HV00Q value fdw_schema_not_found
        HV00R value fdw_table_not_found
        HV010 value fdw_function_sequence_error
        HV014 value fdw_too_many_handles
        HV021 value fdw_inconsistent_descriptor_information
        HV024 value fdw_invalid_attribute_value
        HV090 value fdw_invalid_string_length_or_buffer_length
        HV091 value fdw_invalid_descriptor_field_identifier
        P0000 user plpgsql_error
        P0001 user raise_exception
        P0002 user no_data_found
        P0003 user too_many_rows
        P0004 user assert_failure
        XX000 value internal_error
        XX001 unquoted data_corrupted: numbers of blocks and tuples; in quotes files
        XX002 shown index_corrupted: names of indexes, numbers of blocks
        """
}
