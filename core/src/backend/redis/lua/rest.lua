-- Give the lock back, and leave it taken by nobody for a while.
-- KEYS: 1 lock, 2 side, 3 line, 4 fence, (5 epoch)
-- ARGV: 1 ms to remember, 2 owner, 3 for how many ms, (4 identity)
-- Reply: {1 if it was held, how many wait in the line}
-- The lock: 'rest SINCE label', SINCE in µs and the label that of who held it.

local holder = redis.call('GET', KEYS[1])
if not holder or string.sub(holder, 1, #ARGV[2] + 1) ~= ARGV[2] .. ' ' then return {0, 0} end
local time = redis.call('TIME')
local since = string.format('%.0f', time[1] * 1000000 + time[2])
local label = string.match(holder, '^%x+ %S+ (.*)$') or ''
redis.call('SET', KEYS[1], 'rest ' .. since .. ' ' .. label, 'PX', ARGV[3])
-- The next fence comes after this one, however long that is.
local lives = string.format('%.0f', ARGV[1] + ARGV[3])
if redis.call('PTTL', KEYS[4]) < tonumber(lives) then redis.call('PEXPIRE', KEYS[4], lives) end
return {1, redis.call('ZCOUNT', KEYS[3], '-100000000000000', '+inf')}
