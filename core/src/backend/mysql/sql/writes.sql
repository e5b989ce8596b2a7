-- Nothing is written, only whether it could be.
INSERT INTO $table (name, version, fence) SELECT name, version, fence FROM $table WHERE FALSE;
UPDATE $table SET fence = fence WHERE name = '' AND FALSE;
DELETE FROM $table WHERE name = '' AND FALSE;
SELECT $question AS question
