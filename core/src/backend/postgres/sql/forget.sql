-- Drop rows that nobody has used for a day, and remember their largest fence.
-- $1: the names, $2: the versions that were seen
WITH old AS MATERIALIZED (
    SELECT t.name, t.fence
    FROM unnest($1, $2) AS asked (name, version)
    JOIN $table AS t ON t.name = asked.name AND t.version = asked.version
    FOR UPDATE OF t SKIP LOCKED
), remembered AS (
    UPDATE $table AS base SET
        fence = greatest(base.fence, (SELECT pg_catalog.max(fence) FROM old))
    WHERE base.name = '' AND EXISTS (SELECT FROM old)
)
DELETE FROM $table AS t USING old WHERE t.name = old.name
