-- The next locks by name. $1: after this one, $2: at most so many
SELECT t.name AS asked, pg_catalog.clock_timestamp() AS now, 0::bigint AS forgotten,
    t.version, t.fence, t.owner, t.client, t.label, t.since, t.expires,
    t.line::pg_catalog.text AS line, t.sharers::pg_catalog.text AS sharers
FROM $table AS t
WHERE t.name > $1
ORDER BY t.name
LIMIT $2
