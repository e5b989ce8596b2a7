-- Restart the ttls of what is held alone. $1: the names, $2: the owners, $3: the ttls in µs.
-- The rows are locked in one order, so that two who renew do not wait for each other. One that
-- somebody else has locked is skipped: it keeps no other lease from being renewed. An answer
-- tells the place of each lease that is held, and whether it is renewed.
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest($1, $2, $3) WITH ORDINALITY AS asked (name, owner, ttl, at)
), held AS MATERIALIZED (
    SELECT t.name, t.owner, asked.ttl, asked.at
    FROM asked JOIN $table AS t ON t.name = asked.name AND t.owner = asked.owner
    WHERE t.sharers IS NULL AND t.expires > pg_catalog.clock_timestamp()
    ORDER BY t.name
    FOR NO KEY UPDATE OF t SKIP LOCKED
), renewed AS (
    UPDATE $table AS t SET
        version = t.version + 1,
        expires = pg_catalog.clock_timestamp()
            + held.ttl::double precision * interval '1 microsecond'
    FROM held
    WHERE t.name = held.name AND t.owner = held.owner
        AND t.expires > pg_catalog.clock_timestamp()
    RETURNING held.at
)
SELECT asked.at, renewed.at IS NOT NULL AS renewed /* commits */
FROM asked
LEFT JOIN renewed ON renewed.at = asked.at
LEFT JOIN $table AS t ON t.name = asked.name AND t.owner = asked.owner
    AND t.sharers IS NULL AND t.expires > pg_catalog.clock_timestamp()
WHERE renewed.at IS NOT NULL OR t.name IS NOT NULL
