-- $1: the table's name, quoted
SELECT version, label,
    has_table_privilege($1, 'INSERT') AND has_table_privilege($1, 'UPDATE')
        AND has_table_privilege($1, 'DELETE') AS writes
FROM $table WHERE name = ''
