-- Take a lock for one holder if it has a row and is free, or its own already; else no row is
-- the answer. Short, because most of a statement's time is its beginning: what else is to be
-- known of the lock is another statement's.
-- $1: the name, $2: the owner, $3: the ttl in µs, $4: its client, $5: its label, $6: the table's id
UPDATE $table AS t SET
    version = t.version + 1,
    fence = CASE WHEN t.owner = $2 AND t.expires > pg_catalog.now() THEN t.fence ELSE greatest(t.fence + 1,
        (extract(epoch FROM pg_catalog.now())::double precision * 1000000::double precision)::bigint) END,
    owner = $2,
    client = CASE WHEN t.owner = $2 AND t.expires > pg_catalog.now() THEN t.client ELSE $4 END,
    label = CASE WHEN t.owner = $2 AND t.expires > pg_catalog.now() THEN t.label ELSE $5 END,
    since = CASE WHEN t.owner = $2 AND t.expires > pg_catalog.now() THEN t.since ELSE pg_catalog.now() END,
    expires = pg_catalog.now() + $3::double precision * interval '1 microsecond',
    line = CASE WHEN t.owner = $2 AND t.expires > pg_catalog.now() THEN t.line
        ELSE nullif(t.line - 0, '[]') END
WHERE t.name = (
    SELECT free.name FROM $table AS free, $table AS base
    WHERE base.name = '' AND coalesce(base.label, '') = $6
        AND free.name = $1 AND free.sharers IS NULL
        AND (free.careful IS NULL OR free.careful <= pg_catalog.now())
        AND CASE WHEN free.owner IS NULL OR free.expires <= pg_catalog.now()
            THEN free.line IS NULL OR free.line -> 0 ->> 'owner'::pg_catalog.text = $2
            ELSE free.owner = $2 END
    -- A busy row is not waited for; whoever guards the lease keeps others out. The time is that
    -- of the statement's beginning: what it waits for makes the lease end earlier.
    FOR UPDATE OF free SKIP LOCKED
)
RETURNING $2 AS claimed, t.fence AS granted /* commits */
