-- Among the next locks by name those that nobody has used for a day, and where to go on.
SELECT $question AS question, IF(came.seen = $limit, came.last, NULL) AS last,
    t.name AS asked, $now AS now, 0 AS forgotten,
    t.version, t.fence, t.owner, t.client, t.label, t.since, t.expires, t.line, t.sharers
FROM (
    SELECT MAX(looked.name) AS last, COUNT(*) AS seen
    FROM (SELECT name FROM $table WHERE name > $after ORDER BY name LIMIT $limit) AS looked
) AS came
LEFT JOIN $table AS t ON t.name > $after AND t.name <= came.last
    AND t.fence < $now - 86400000000 AND (t.owner IS NULL OR t.expires <= $now)
    -- What may come late is to meet the row.
    AND (t.careful IS NULL OR t.careful <= $now)
