-- Among the next locks by name those that nobody has used for a day, and where to go on.
-- $1: after this one, $2: at most so many are looked at
WITH looked AS MATERIALIZED (
    SELECT next.name FROM $table AS next WHERE next.name > $1 ORDER BY next.name LIMIT $2
), came AS (
    SELECT pg_catalog.max(name) AS last, pg_catalog.count(*) AS rows FROM looked
)
SELECT CASE WHEN came.rows = $2 THEN came.last END AS last,
    t.name AS asked, pg_catalog.clock_timestamp() AS now, 0::bigint AS forgotten,
    t.version, t.fence, t.owner, t.client, t.label, t.since, t.expires,
    t.line::pg_catalog.text AS line, t.sharers::pg_catalog.text AS sharers
FROM came LEFT JOIN $table AS t ON t.name > $1 AND t.name <= came.last
    AND t.fence < (extract(epoch FROM pg_catalog.clock_timestamp() - interval '1 day')
        * 1000000::numeric)::bigint
    AND (t.owner IS NULL OR t.expires <= pg_catalog.clock_timestamp())
    -- What may come late is to meet the row.
    AND (t.careful IS NULL OR t.careful <= pg_catalog.clock_timestamp())
