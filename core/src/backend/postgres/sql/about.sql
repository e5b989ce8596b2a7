-- $1: the table's name, quoted
SELECT version, label,
    pg_catalog.has_table_privilege($1, 'INSERT') AND pg_catalog.has_table_privilege($1, 'UPDATE')
        AND pg_catalog.has_table_privilege($1, 'DELETE') AS writes,
    (SELECT relpersistence = 'u' FROM pg_catalog.pg_class
        WHERE oid = pg_catalog.to_regclass($1)::pg_catalog.oid) AS unlogged
FROM $table WHERE name = ''
