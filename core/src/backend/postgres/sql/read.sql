-- One lock. $1: its name
SELECT $1 AS asked, clock.now, base.fence AS forgotten, coalesce(base.label, '') AS id,
    t.version, t.fence, t.owner, t.client, t.label, t.since, t.expires,
    t.line::pg_catalog.text AS line, t.sharers::pg_catalog.text AS sharers
FROM (SELECT pg_catalog.clock_timestamp() AS now) AS clock
CROSS JOIN $table AS base
LEFT JOIN $table AS t ON t.name = $1
WHERE base.name = ''
