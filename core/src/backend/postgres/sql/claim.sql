-- Take a lock for one holder if it is free, or its own already; else read it. That writes nothing.
-- $1: the name, $2: the owner, $3: the ttl in µs, $4: its client, $5: its label
WITH clock AS MATERIALIZED (
    SELECT now, (extract(epoch FROM now) * 1000000)::bigint AS micros
    FROM (SELECT clock_timestamp() AS now) AS read
), free AS MATERIALIZED (
    SELECT t.name, t.owner = $2 AND t.expires > clock.now AS is_ours
    FROM $table AS t, clock
    WHERE t.name = $1 AND t.sharers IS NULL AND (t.careful IS NULL OR t.careful <= clock.now)
        AND CASE WHEN t.owner IS NULL OR t.expires <= clock.now
            THEN t.line IS NULL OR t.line -> 0 ->> 'owner' = $2
            ELSE t.owner = $2 END
    -- A busy row is not waited for; whoever guards the lease keeps others out.
    FOR UPDATE OF t SKIP LOCKED
), taken AS (
    UPDATE $table AS t SET
        version = t.version + 1,
        fence = CASE WHEN free.is_ours THEN t.fence ELSE greatest(t.fence + 1, clock.micros) END,
        owner = $2,
        client = CASE WHEN free.is_ours THEN t.client ELSE $4 END,
        label = CASE WHEN free.is_ours THEN t.label ELSE $5 END,
        since = CASE WHEN free.is_ours THEN t.since ELSE clock.now END,
        expires = clock.now + $3 * interval '1 microsecond',
        line = CASE WHEN free.is_ours THEN t.line ELSE nullif(t.line - 0, '[]') END
    FROM free, clock
    WHERE t.name = free.name
    RETURNING t.fence
), made AS (
    INSERT INTO $table AS t (name, version, fence, owner, client, label, since, expires)
    SELECT $1, clock.micros, greatest(base.fence + 1, clock.micros), $2, $4, $5,
        clock.now, clock.now + $3 * interval '1 microsecond'
    FROM $table AS base, clock
    WHERE base.name = '' AND NOT EXISTS (SELECT FROM $table AS here WHERE here.name = $1)
    ON CONFLICT (name) DO NOTHING
    RETURNING t.fence
)
SELECT $1 AS asked, clock.now, base.fence AS forgotten,
    t.version, t.fence, t.owner, t.client, t.label, t.since, t.expires,
    t.line::text AS line, t.sharers::text AS sharers,
    $2 AS claimed, (SELECT fence FROM taken UNION ALL SELECT fence FROM made) AS granted /* commits */
FROM clock
CROSS JOIN $table AS base
LEFT JOIN $table AS t ON t.name = $1
WHERE base.name = ''
