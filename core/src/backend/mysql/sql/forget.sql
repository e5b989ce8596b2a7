-- Remember the largest fence of rows that nobody has used for a day, then drop them.
UPDATE $table SET fence = GREATEST(fence, $fence) WHERE name = '';
DELETE FROM $table WHERE name IN ($names) AND (name, version) IN ($pairs);
SELECT $question AS question
