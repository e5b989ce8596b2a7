-- One lock. $1: its name
SELECT $1 AS asked, clock.now, base.fence AS forgotten,
    t.version, t.fence, t.owner, t.client, t.label, t.since, t.expires,
    t.line::text AS line, t.sharers::text AS sharers
FROM (SELECT clock_timestamp() AS now) AS clock
CROSS JOIN $table AS base
LEFT JOIN $table AS t ON t.name = $1
WHERE base.name = ''
