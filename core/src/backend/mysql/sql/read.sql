-- One lock.
SELECT $question AS question, $name AS asked, $now AS now, base.fence AS forgotten,
    COALESCE(base.label, '') AS id,
    t.version, t.fence, t.owner, t.client, t.label, t.since, t.expires, t.line, t.sharers
FROM $table AS base LEFT JOIN $table AS t ON t.name = $name
WHERE base.name = ''
