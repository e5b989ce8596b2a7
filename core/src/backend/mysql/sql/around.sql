-- The last lock up to a name, and the first behind it.
SELECT $question AS question,
    (SELECT MAX(t.name) FROM $table AS t WHERE t.name <= $name AND t.name > '') AS before_it,
    (SELECT MIN(t.name) FROM $table AS t WHERE t.name > $name) AS behind_it
