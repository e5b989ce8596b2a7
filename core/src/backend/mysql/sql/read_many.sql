-- Locks by name, and the row that is about the table, so that an answer is never empty.
SELECT $question AS question, t.name AS asked, $now AS now, 0 AS forgotten,
    t.version, t.fence, t.owner, t.client, t.label, t.since, t.expires, t.line, t.sharers
FROM $table AS t
WHERE t.name = '' OR $which
ORDER BY t.name
