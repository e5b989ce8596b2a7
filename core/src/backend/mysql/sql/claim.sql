-- Take a lock for one holder if it is free, or its own already; then read it. Assignments are
-- carried out from left to right, and see those before.
UPDATE $table SET
    version = version + 1,
    fence = LAST_INSERT_ID(
        IF(owner = $owner AND expires > $now, fence, GREATEST(fence + 1, $now))),
    client = IF(owner = $owner AND expires > $now, client, $client),
    label = IF(owner = $owner AND expires > $now, label, $label),
    since = IF(owner = $owner AND expires > $now, since, $now),
    expires = $now + $ttl,
    owner = $owner
WHERE name = $name AND sharers IS NULL AND (careful IS NULL OR careful <= $now)
    AND IF(owner IS NULL OR expires <= $now, line IS NULL, owner = $owner);
SELECT $question AS question, ROW_COUNT() AS written, LAST_INSERT_ID() AS granted,
    $name AS asked, $now AS now, base.fence AS forgotten,
    COALESCE(base.label, '') AS id,
    t.version, t.fence, t.owner, t.client, t.label, t.since, t.expires, t.line, t.sharers
FROM $table AS base LEFT JOIN $table AS t ON t.name = $name
WHERE base.name = ''
