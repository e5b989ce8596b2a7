-- Who holds what was renewed, and the row that is about the table.
SELECT $question AS question, t.name AS asked, $now AS now, t.owner, t.expires, t.sharers
FROM $table AS t
WHERE t.name = '' OR t.name IN ($names)
