-- The last lock up to a name, and the first behind it. $1: the name
SELECT
    (SELECT pg_catalog.max(t.name) FROM $table AS t
        WHERE t.name <= $1 AND t.name > ''::pg_catalog.text) AS before,
    (SELECT pg_catalog.min(t.name) FROM $table AS t WHERE t.name > $1) AS behind
