-- Restart the ttl of one who shares. The row is changed as it is then, whatever it was before:
-- however many change it, no renewal has to be done again. The list is in nanoseconds.
UPDATE $table SET
    version = version + 1, expires = GREATEST(expires, $now + $ttl),
    sharers = JSON_SET(sharers,
        REPLACE(JSON_UNQUOTE(JSON_SEARCH(sharers, 'one', $owner, NULL, '$[*].owner')),
            'owner', 'expires'),
        ($now + $ttl) * 1000)
WHERE name = $name AND JSON_EXTRACT(sharers,
    REPLACE(JSON_UNQUOTE(JSON_SEARCH(sharers, 'one', $owner, NULL, '$[*].owner')),
        'owner', 'expires')) > $now * 1000
