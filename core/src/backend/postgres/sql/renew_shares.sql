-- Write who shares and until when, of rows that are still the version that was seen.
-- $1: the names, $2: the versions, $3: who shares, $4: the ends
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest($1, $2, $3, $4) AS asked (name, version, sharers, expires)
), seen AS MATERIALIZED (
    SELECT t.name, asked.version, asked.sharers, asked.expires
    FROM asked JOIN $table AS t ON t.name = asked.name AND t.version = asked.version
    ORDER BY t.name
    FOR NO KEY UPDATE OF t
)
UPDATE $table AS t SET
    version = t.version + 1, sharers = seen.sharers::pg_catalog.jsonb, expires = seen.expires
FROM seen
WHERE t.name = seen.name AND t.version = seen.version
RETURNING t.name /* commits */
