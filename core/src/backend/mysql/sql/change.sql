-- Write a row as it is to be, if it is still the version that was seen.
UPDATE $table SET
    version = version + 1, fence = $fence, owner = $owner, client = $client, label = $label,
    since = $since, expires = $expires, line = $line, sharers = $sharers,
    careful = IF($careful IS NULL, careful, GREATEST(COALESCE(careful, 0), $now + $careful))
WHERE name = $name AND version = $version;
SELECT $question AS question, ROW_COUNT() AS written
