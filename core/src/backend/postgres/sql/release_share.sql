-- Give back a share, whatever others have changed before, and wake the first of the line if it
-- finds room: who is alone when nobody is left, who counts in any case.
-- $1: the name, $2: the owner
WITH held AS MATERIALIZED (
    SELECT t.name, t.line, t.sharers
    FROM $table AS t
    WHERE t.name = $1 AND t.sharers IS NOT NULL
    FOR NO KEY UPDATE OF t
), clock AS MATERIALIZED (
    -- Not before the row is locked. In nanoseconds, as the lists have it.
    SELECT extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000000::numeric AS now
    FROM (SELECT pg_catalog.count(*) FROM held) AS locked
), listed AS MATERIALIZED (
    SELECT share.said, share.at, (share.said ->> 'expires'::pg_catalog.text)::numeric AS expires,
        share.said ->> 'owner'::pg_catalog.text = $2 AS is_ours
    FROM clock CROSS JOIN held
    CROSS JOIN LATERAL pg_catalog.jsonb_array_elements(held.sharers)
        WITH ORDINALITY AS share (said, at)
    WHERE (share.said ->> 'expires'::pg_catalog.text)::numeric > clock.now
), changed AS MATERIALIZED (
    SELECT held.name, held.line,
        (SELECT pg_catalog.jsonb_agg(said ORDER BY at) FROM listed WHERE NOT is_ours) AS sharers,
        (SELECT said FROM listed WHERE NOT is_ours ORDER BY expires DESC LIMIT 1) AS last
    FROM held
    WHERE EXISTS (SELECT FROM listed WHERE is_ours)
), freed AS (
    UPDATE $table AS t SET
        version = t.version + 1, sharers = changed.sharers,
        owner = changed.last ->> 'owner'::pg_catalog.text,
        client = (changed.last ->> 'client'::pg_catalog.text)::bigint,
        label = changed.last ->> 'label'::pg_catalog.text,
        since = timestamptz 'epoch'
            + ((changed.last ->> 'since'::pg_catalog.text)::numeric / 1000::numeric)::double precision
            * interval '1 microsecond',
        expires = timestamptz 'epoch'
            + pg_catalog.ceil(
                (changed.last ->> 'expires'::pg_catalog.text)::numeric / 1000::numeric)::double precision
            * interval '1 microsecond'
    FROM changed
    WHERE t.name = changed.name
    RETURNING t.name
), waiting AS MATERIALIZED (
    SELECT place.waiter ->> 'client'::pg_catalog.text AS client, place.at,
        changed.sharers IS NULL
            OR (place.waiter ->> 'mode'::pg_catalog.text)::bigint > 0::bigint AS has_room
    FROM changed CROSS JOIN clock CROSS JOIN LATERAL pg_catalog.jsonb_array_elements(changed.line)
        WITH ORDINALITY AS place (waiter, at)
    WHERE (place.waiter ->> 'until'::pg_catalog.text)::numeric > clock.now
), first AS (
    SELECT client, has_room FROM waiting ORDER BY at LIMIT 1
)
SELECT $2 AS released, EXISTS (SELECT FROM freed) AS held,
    (SELECT pg_catalog.count(*) FROM waiting) AS others,
    (SELECT pg_catalog.pg_notify('leasehold_' || client, $1) FROM first
        WHERE has_room AND client <> '0') AS told
