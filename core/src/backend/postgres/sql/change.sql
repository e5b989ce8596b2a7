-- Write a row as it is to be, if it is still the version that was seen, and tell clients.
-- $1: the name, $2: the version, $3 to $10: the row, $11: careful for so many µs,
-- $12: the table's id, $13: the channels, $14: whether somebody becomes the holder. Whoever
-- guards the lease in a transaction of their own has a key share lock, which keeps that out and
-- nothing else.
WITH guarded AS (
    SELECT t.name FROM $table AS t, $table AS base
    WHERE $14 AND t.name = $1 AND t.version = $2
        AND base.name = '' AND coalesce(base.label, '') = $12
    FOR UPDATE OF t SKIP LOCKED
), changed AS (
    UPDATE $table AS t SET
        version = t.version + 1, fence = $3, owner = $4, client = $5, label = $6,
        since = $7, expires = $8, line = $9::pg_catalog.jsonb, sharers = $10::pg_catalog.jsonb,
        careful = greatest(t.careful,
            pg_catalog.clock_timestamp() + $11::double precision * interval '1 microsecond')
    WHERE t.name = $1 AND t.version = $2 AND (NOT $14 OR EXISTS (SELECT FROM guarded))
    RETURNING t.version
)
SELECT $1 AS asked, (SELECT version FROM changed) AS version,
    (SELECT pg_catalog.count(pg_catalog.pg_notify(told.channel, $1))
        FROM changed, pg_catalog.unnest($13) AS told (channel)) AS told /* commits */
