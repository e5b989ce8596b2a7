-- Give the lock back, and hand it on.
-- KEYS: 1 lock, 2 side, 3 line, (4 epoch)
-- ARGV: 1 owner, 2 next owner or '', 3 its channel and label, 4 its ttl in ms,
--       (5 identity)
-- Reply: {1 if it was held, how many wait in the line, fence of the next owner
--         or 0}

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {0, 0, 0} end
local fence = 0
local place = ARGV[2] ~= '' and redis.call('HGET', KEYS[2], ARGV[2]) or ''
local is_gone = string.sub(place, 1, 4) == 'gone'
if ARGV[2] ~= '' and not is_gone and quarantine() == 0 then
  redis.call('ZREM', KEYS[3], ARGV[2])
  redis.call('HDEL', KEYS[2], ARGV[2])
  fence = grant(ARGV[2], ARGV[3], ARGV[4])
else
  free_and_hand_on()
end
return {1, redis.call('ZCARD', KEYS[3]), fence}
