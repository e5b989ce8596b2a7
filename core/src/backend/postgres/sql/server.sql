-- $1: the table's name, quoted
SELECT to_regclass($1) IS NOT NULL AS has_table,
    current_setting('transaction_read_only') AS read_only,
    pg_is_in_recovery() AS in_recovery,
    current_setting('server_encoding') AS encoding,
    current_setting('fsync') AS fsync,
    (SELECT system_identifier FROM pg_control_system()) AS system,
    -- After a promotion first the one is up to date, then the other.
    (SELECT greatest(min_recovery_end_timeline, timeline_id)
        FROM pg_control_recovery(), pg_control_checkpoint()) AS timeline
