-- Restart the ttls of those who share. $1: the names, $2: the owners, $3: the ttls in µs.
-- Each row is changed as it is when it is locked, whatever it was before: however many change it,
-- no renewal has to be done again. Locks and answers are as of what is held alone.
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest($1, $2, $3) WITH ORDINALITY AS asked (name, owner, ttl, at)
), held AS MATERIALIZED (
    SELECT t.name, t.sharers
    FROM $table AS t
    WHERE t.name = ANY ($1) AND t.sharers IS NOT NULL
    ORDER BY t.name
    FOR NO KEY UPDATE OF t SKIP LOCKED
), clock AS MATERIALIZED (
    -- Not before the rows are locked. In nanoseconds, as the list has it.
    SELECT extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000000::numeric AS now
    FROM (SELECT pg_catalog.count(*) FROM held) AS locked
), listed AS MATERIALIZED (
    SELECT held.name, share.at, share.said, asked.at AS asked,
        CASE WHEN asked.at IS NULL THEN (share.said ->> 'expires'::pg_catalog.text)::numeric
            ELSE pg_catalog.trunc(clock.now) + asked.ttl::numeric * 1000::numeric END AS expires
    FROM clock CROSS JOIN held
    CROSS JOIN LATERAL pg_catalog.jsonb_array_elements(held.sharers)
        WITH ORDINALITY AS share (said, at)
    LEFT JOIN asked ON asked.name = held.name
        AND asked.owner = share.said ->> 'owner'::pg_catalog.text
        AND (share.said ->> 'expires'::pg_catalog.text)::numeric > clock.now
), changed AS MATERIALIZED (
    SELECT name, pg_catalog.max(expires) AS expires,
        pg_catalog.jsonb_agg(
            pg_catalog.jsonb_set(said, '{expires}'::pg_catalog.text[], pg_catalog.to_jsonb(expires))
            ORDER BY at) AS sharers
    FROM listed
    GROUP BY name
    HAVING pg_catalog.count(asked) > 0::bigint
), renewed AS (
    UPDATE $table AS t SET
        version = t.version + 1, sharers = changed.sharers,
        expires = timestamptz 'epoch'
            + pg_catalog.ceil(changed.expires / 1000::numeric)::double precision
            * interval '1 microsecond'
    FROM changed
    WHERE t.name = changed.name
    RETURNING t.name
)
SELECT asked.at, renewed.name IS NOT NULL AS renewed /* commits */
FROM asked
LEFT JOIN listed ON listed.asked = asked.at
LEFT JOIN renewed ON renewed.name = listed.name
LEFT JOIN $table AS t ON t.name = asked.name
    AND t.sharers @> pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object(
        'owner'::pg_catalog.text, asked.owner))
WHERE renewed.name IS NOT NULL
    OR t.name IS NOT NULL AND NOT EXISTS (SELECT FROM held WHERE held.name = asked.name)
