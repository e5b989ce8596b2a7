-- Give back what is held alone, and wake the first of the line. No row, and nothing changes, if it
-- is not held so, or the first of the line is gone. There is no subquery, as to begin one takes
-- longer than all the rest.
-- $1: the name, $2: the owner
UPDATE $table AS t SET
    version = t.version + 1, owner = NULL, client = NULL, label = NULL, since = NULL, expires = NULL
WHERE t.name = $1 AND t.owner = $2 AND t.sharers IS NULL
    AND t.expires > pg_catalog.clock_timestamp()
    AND (t.line IS NULL OR (t.line -> 0 ->> 'until'::pg_catalog.text)::double precision
        > extract(epoch FROM pg_catalog.clock_timestamp())::double precision * 1000000000::double precision)
RETURNING $2 AS released, pg_catalog.clock_timestamp() AS now, t.line::pg_catalog.text AS line,
    CASE WHEN t.line -> 0 ->> 'client'::pg_catalog.text <> '0'
        THEN pg_catalog.pg_notify('leasehold_' || (t.line -> 0 ->> 'client'::pg_catalog.text), $1) END AS told
