-- Who holds what was renewed, and the row that is about the table.
SELECT $question AS question, t.name AS asked, t.owner FROM $table AS t
WHERE t.name = '' OR t.name IN ($names) AND t.sharers IS NULL AND t.expires > $now
