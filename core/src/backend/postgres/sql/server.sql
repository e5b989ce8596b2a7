-- $1: the table's name, quoted
SELECT pg_catalog.to_regclass($1) IS NOT NULL AS has_table,
    pg_catalog.current_setting('transaction_read_only') AS read_only,
    pg_catalog.pg_is_in_recovery() AS in_recovery,
    pg_catalog.current_setting('server_encoding') AS encoding,
    pg_catalog.current_setting('fsync') AS fsync,
    (SELECT system_identifier FROM pg_catalog.pg_control_system()) AS system,
    -- After a promotion first the one is up to date, then the other.
    (SELECT greatest(min_recovery_end_timeline, timeline_id)
        FROM pg_catalog.pg_control_recovery(), pg_catalog.pg_control_checkpoint()) AS timeline
