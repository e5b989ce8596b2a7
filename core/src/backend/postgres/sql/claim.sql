-- Take a lock for one holder if it is free, or its own already; else read it. That writes nothing.
-- $1: the name, $2: the owner, $3: the ttl in µs, $4: its client, $5: its label, $6: the table's id
WITH clock AS MATERIALIZED (
    SELECT read.now, (extract(epoch FROM read.now)::double precision * 1000000::double precision)::bigint AS micros,
        base.fence AS forgotten, coalesce(base.label, '') AS id
    FROM (SELECT pg_catalog.clock_timestamp() AS now) AS read, $table AS base
    WHERE base.name = ''
), free AS MATERIALIZED (
    SELECT t.name, t.owner = $2 AND t.expires > clock.now AS is_ours
    FROM $table AS t, clock
    WHERE t.name = $1 AND clock.id = $6 AND t.sharers IS NULL
        AND (t.careful IS NULL OR t.careful <= clock.now)
        AND CASE WHEN t.owner IS NULL OR t.expires <= clock.now
            THEN t.line IS NULL OR t.line -> 0 ->> 'owner'::pg_catalog.text = $2
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
        expires = clock.now + $3::double precision * interval '1 microsecond',
        line = CASE WHEN free.is_ours THEN t.line ELSE nullif(t.line - 0, '[]') END
    FROM free, clock
    WHERE t.name = free.name
    RETURNING t.fence
), made AS (
    INSERT INTO $table AS t (name, version, fence, owner, client, label, since, expires)
    SELECT $1, clock.micros, greatest(clock.forgotten + 1, clock.micros), $2, $4, $5,
        clock.now, clock.now + $3::double precision * interval '1 microsecond'
    FROM clock
    WHERE clock.id = $6 AND NOT EXISTS (SELECT FROM $table AS here WHERE here.name = $1)
    ON CONFLICT (name) DO NOTHING
    RETURNING t.fence
)
SELECT $1 AS asked, clock.now, clock.forgotten, clock.id,
    t.version, t.fence, t.owner, t.client, t.label, t.since, t.expires,
    t.line::pg_catalog.text AS line, t.sharers::pg_catalog.text AS sharers,
    $2 AS claimed, (SELECT fence FROM taken UNION ALL SELECT fence FROM made) AS granted /* commits */
FROM clock
LEFT JOIN $table AS t ON t.name = $1
