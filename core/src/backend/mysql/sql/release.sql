-- Give back what is held alone, and see who waits.
UPDATE $table SET
    version = version + 1, owner = NULL, client = NULL, label = NULL, since = NULL,
    expires = NULL
WHERE name = $name AND owner = $owner AND sharers IS NULL AND expires > $now;
SELECT $question AS question, ROW_COUNT() AS written, $now AS now, t.line
FROM $table AS base LEFT JOIN $table AS t ON t.name = $name
WHERE base.name = ''
