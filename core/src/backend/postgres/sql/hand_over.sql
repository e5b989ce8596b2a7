-- Give back what is held alone, and nobody waits for, to the next owner.
-- $1: the name, $2: the owner, $3: the next one, $4: its ttl in µs, $5: its client, $6: its
-- label, $7: the table's id
WITH clock AS MATERIALIZED (
    SELECT now, (extract(epoch FROM now)::double precision * 1000000::double precision)::bigint AS micros
    FROM (SELECT pg_catalog.clock_timestamp() AS now) AS read
), held AS MATERIALIZED (
    SELECT t.name
    FROM $table AS t, $table AS base, clock
    WHERE t.name = $1 AND t.owner = $2 AND t.sharers IS NULL AND t.expires > clock.now
        AND t.line IS NULL AND (t.careful IS NULL OR t.careful <= clock.now)
        AND base.name = '' AND coalesce(base.label, '') = $7
    FOR UPDATE OF t SKIP LOCKED
), handed AS (
    UPDATE $table AS t SET
        version = t.version + 1, fence = greatest(t.fence + 1, clock.micros), owner = $3,
        client = $5, label = $6, since = clock.now,
        expires = clock.now + $4::double precision * interval '1 microsecond'
    FROM held, clock
    WHERE t.name = held.name
    RETURNING t.fence
)
SELECT $3 AS claimed, (SELECT fence FROM handed) AS granted /* commits */
