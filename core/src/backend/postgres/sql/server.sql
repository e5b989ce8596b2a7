-- $1: the table's name, quoted
SELECT to_regclass($1) IS NOT NULL AS has_table,
    current_setting('transaction_read_only') AS read_only,
    pg_is_in_recovery() AS in_recovery,
    current_setting('server_encoding') AS encoding,
    current_setting('fsync') AS fsync,
    -- From where the server is spoken to: by us, or by a pooler.
    inet_client_port() AS port,
    (SELECT system_identifier FROM pg_control_system()) AS system
