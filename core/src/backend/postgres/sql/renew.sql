-- Restart the ttls of what is held alone. $1: the names, $2: the owners, $3: the ttls in µs.
-- The rows are locked in one order, so that two who renew do not wait for each other.
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest($1, $2, $3) AS asked (name, owner, ttl)
), held AS MATERIALIZED (
    SELECT t.name, t.owner, asked.ttl
    FROM asked JOIN $table AS t ON t.name = asked.name AND t.owner = asked.owner
    WHERE t.sharers IS NULL AND t.expires > pg_catalog.clock_timestamp()
    ORDER BY t.name
    FOR NO KEY UPDATE OF t
)
UPDATE $table AS t SET
    version = t.version + 1,
    expires = pg_catalog.clock_timestamp() + held.ttl::double precision * interval '1 microsecond'
FROM held
WHERE t.name = held.name AND t.owner = held.owner AND t.expires > pg_catalog.clock_timestamp()
RETURNING t.name, t.owner /* commits */
