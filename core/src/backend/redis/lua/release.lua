-- Give the lock back, and hand it on.
-- KEYS: 1 lock, 2 side, 3 line, (4 epoch)
-- ARGV: 1 ms to remember, 2 owner, 3 next owner or '', 4 its channel and label,
--       5 its ttl in ms, (6 identity)
-- Reply: {1 if it was held, how many wait in the line, fence of the next owner
--         or 0}

local next = ARGV[3]
if not is_of(redis.call('GET', KEYS[1]), ARGV[2]) then return {0, 0, 0} end
local fence = 0
local place = next ~= '' and redis.call('HGET', KEYS[2], next) or ''
local is_gone = string.sub(place, 1, 4) == 'gone'
if next ~= '' and not is_gone and quarantine() == 0 then
  leave(next)
  fence = grant(next, ARGV[4], ARGV[5])
else
  free_and_hand_on()
end
return {1, redis.call('ZCARD', KEYS[3]), fence}
