-- The next locks by name, and the row that is about the table.
SELECT $question AS question, '' AS asked, $now AS now, 0 AS forgotten,
    base.version, base.fence, NULL AS owner, NULL AS client, NULL AS label, NULL AS since,
    NULL AS expires, NULL AS line, NULL AS sharers
FROM $table AS base WHERE base.name = ''
UNION ALL
(SELECT $question, t.name, $now, 0,
    t.version, t.fence, t.owner, t.client, t.label, t.since, t.expires, t.line, t.sharers
FROM $table AS t
WHERE t.name > $after
ORDER BY t.name
LIMIT $limit)
