-- Give back what is held alone, and wake the first of the line.
-- $1: the name, $2: the owner
WITH freed AS (
    UPDATE $table AS t SET
        version = t.version + 1, owner = NULL, client = NULL, label = NULL, since = NULL, expires = NULL
    WHERE t.name = $1 AND t.owner = $2 AND t.sharers IS NULL
        AND t.expires > pg_catalog.clock_timestamp()
    RETURNING t.line
), waiting AS MATERIALIZED (
    SELECT place.waiter ->> 'client'::pg_catalog.text AS client, place.at
    FROM freed, pg_catalog.jsonb_array_elements(freed.line) WITH ORDINALITY AS place (waiter, at)
    WHERE (place.waiter ->> 'until'::pg_catalog.text)::double precision
        > extract(epoch FROM pg_catalog.clock_timestamp())::double precision * 1000000000::double precision
), first AS (
    SELECT client FROM waiting ORDER BY at LIMIT 1
)
SELECT $2 AS released, EXISTS (SELECT FROM freed) AS held,
    (SELECT pg_catalog.count(*) FROM waiting) AS others,
    (SELECT pg_catalog.pg_notify('leasehold_' || client, $1) FROM first WHERE client <> '0') AS told
