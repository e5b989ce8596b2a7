-- Write who shares and until when, if the row is still the version that was seen.
UPDATE $table SET version = version + 1, sharers = $sharers, expires = $expires
WHERE name = $name AND version = $version;
SELECT $question AS question, $name AS asked, ROW_COUNT() AS written
