SELECT $question AS question, VERSION() AS version,
    @@GLOBAL.innodb_flush_log_at_trx_commit AS flushes,
    (SELECT engine FROM information_schema.tables
        WHERE table_schema = $schema AND table_name = $bare) AS engine,
    (SELECT COUNT(*) = 1 AND MAX(column_name = 'name' AND sub_part IS NULL)
        FROM information_schema.statistics
        WHERE table_schema = $schema AND table_name = $bare AND index_name = 'PRIMARY') AS by_name
