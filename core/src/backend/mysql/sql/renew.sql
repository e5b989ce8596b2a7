-- Restart the ttls of what is held alone, rows in the order of their names, so that two who
-- renew do not wait for each other.
UPDATE $table FORCE INDEX (PRIMARY) SET version = version + 1, expires = $now + $ttl
WHERE name IN ($names) AND (name, owner) IN ($pairs) AND sharers IS NULL AND expires > $now
