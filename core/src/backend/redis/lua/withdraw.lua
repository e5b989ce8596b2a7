-- Make a claim as if it had never been sent.
-- KEYS: 1 lock, 2 side, 3 line, (4 epoch)
-- ARGV: 1 owner, 2 ms to refuse this owner's claims because one may come late
--       over an older connection (0: none can), (3 identity)

local owner, refuse = ARGV[1], tonumber(ARGV[2])
redis.call('ZREM', KEYS[3], owner)
redis.call('HDEL', KEYS[2], owner)
if refuse > 0 then
  local now = millis()
  local fields = redis.call('HGETALL', KEYS[2])
  for i = 1, #fields, 2 do
    local till = string.match(fields[i + 1], '^gone (%d+)$')
    if till and tonumber(till) <= now then redis.call('HDEL', KEYS[2], fields[i]) end
  end
  redis.call('HSET', KEYS[2], owner, 'gone ' .. whole(now + refuse))
  redis.call('PEXPIRE', KEYS[2], DAY + HOUR)
end
local holder = redis.call('GET', KEYS[1])
if holder == owner or (not holder and redis.call('EXISTS', KEYS[3]) == 1) then
  free_and_hand_on()
end
return 1
