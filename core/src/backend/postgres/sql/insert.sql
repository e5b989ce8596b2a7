-- Write a row that was not there. $1: the name, $2: the largest fence of dropped rows that was
-- seen, $3 to $10: the row, $11: careful for so many µs, $12: the table's id
WITH clock AS MATERIALIZED (
    SELECT now, (extract(epoch FROM now)::double precision * 1000000::double precision)::bigint AS micros
    FROM (SELECT pg_catalog.clock_timestamp() AS now) AS read
), changed AS (
    INSERT INTO $table AS t (name, version, fence, owner, client, label, since, expires, line, sharers, careful)
    SELECT $1, clock.micros, $3, $4, $5, $6, $7, $8, $9::pg_catalog.jsonb, $10::pg_catalog.jsonb,
        clock.now + $11::double precision * interval '1 microsecond'
    FROM $table AS base, clock
    WHERE base.name = '' AND base.fence = $2 AND coalesce(base.label, '') = $12
    ON CONFLICT (name) DO NOTHING
    RETURNING t.version
)
SELECT $1 AS asked, (SELECT version FROM changed) AS version /* commits */
