-- Write a row that was not there. $1: the name, $2: the largest fence of dropped rows that was
-- seen, $3 to $10: the row, $11: careful for so many µs
WITH changed AS (
    INSERT INTO $table AS t (name, version, fence, owner, client, label, since, expires, line, sharers, careful)
    SELECT $1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, $3, $4, $5, $6, $7, $8,
        $9::text::jsonb, $10::text::jsonb, clock_timestamp() + $11 * interval '1 microsecond'
    FROM $table AS base WHERE base.name = '' AND base.fence = $2
    ON CONFLICT (name) DO NOTHING
    RETURNING t.version
)
SELECT $1 AS asked, (SELECT version FROM changed) AS version /* commits */
