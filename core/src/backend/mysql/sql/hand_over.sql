-- Give back what is held alone, and nobody waits for, to the next owner.
UPDATE $table SET
    version = version + 1, fence = LAST_INSERT_ID(GREATEST(fence + 1, $now)),
    client = $client, label = $label, since = $now, expires = $now + $ttl, owner = $next
WHERE name = $name AND owner = $owner AND sharers IS NULL AND expires > $now
    AND line IS NULL AND (careful IS NULL OR careful <= $now);
SELECT $question AS question, ROW_COUNT() AS written, LAST_INSERT_ID() AS granted,
    COALESCE(base.label, '') AS id
FROM $table AS base WHERE base.name = ''
