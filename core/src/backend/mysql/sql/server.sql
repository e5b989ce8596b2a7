SELECT $question AS question, VERSION() AS version,
    @@GLOBAL.innodb_flush_log_at_trx_commit AS flushes,
    (SELECT engine FROM information_schema.tables
        WHERE table_schema = $schema AND table_name = $bare) AS engine
