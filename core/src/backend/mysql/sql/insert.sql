-- Write a row that was not there.
INSERT INTO $table
    (name, version, fence, owner, client, label, since, expires, line, sharers, careful)
SELECT $name, $now, $fence, $owner, $client, $label, $since, $expires, $line, $sharers,
    $now + $careful
FROM $table AS base
WHERE base.name = '' AND base.fence = $version AND COALESCE(base.label, '') = $id;
SELECT $question AS question, ROW_COUNT() AS written
