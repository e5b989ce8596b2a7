-- Give back a share, whatever others have changed before, and see who waits. Assignments are
-- carried out from left to right, and see those before.
UPDATE $table SET
    version = version + 1,
    sharers = IF(JSON_LENGTH(sharers) = 1, NULL, JSON_REMOVE(sharers,
        REPLACE(JSON_UNQUOTE(JSON_SEARCH(sharers, 'one', $owner, NULL, '$[*].owner')),
            '.owner', ''))),
    owner = JSON_UNQUOTE(JSON_EXTRACT(sharers, '$[0].owner')),
    client = JSON_EXTRACT(sharers, '$[0].client'),
    label = JSON_UNQUOTE(JSON_EXTRACT(sharers, '$[0].label')),
    since = JSON_EXTRACT(sharers, '$[0].since') DIV 1000,
    expires = IF(sharers IS NULL, NULL, expires)
WHERE name = $name AND JSON_EXTRACT(sharers,
    REPLACE(JSON_UNQUOTE(JSON_SEARCH(sharers, 'one', $owner, NULL, '$[*].owner')),
        'owner', 'expires')) > $now * 1000;
SELECT $question AS question, ROW_COUNT() AS written, $now AS now, t.line
FROM $table AS base LEFT JOIN $table AS t ON t.name = $name
WHERE base.name = ''
