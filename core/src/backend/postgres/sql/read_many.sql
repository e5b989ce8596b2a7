-- Locks by name. $1: the names; null: all that are held or waited for
SELECT t.name AS asked, pg_catalog.clock_timestamp() AS now, 0::bigint AS forgotten,
    t.version, t.fence, t.owner, t.client, t.label, t.since, t.expires,
    t.line::pg_catalog.text AS line, t.sharers::pg_catalog.text AS sharers
FROM $table AS t
WHERE t.name <> '' AND CASE WHEN $1 IS NULL
    THEN t.owner IS NOT NULL OR t.line IS NOT NULL
    ELSE t.name = ANY ($1) END
ORDER BY t.name
