-- Give back a lock that is shared, and hand it on. The usual cases stand here, before
-- any function is made; `release_share.lua` goes on where somebody waits.
-- KEYS: 1 lock, 2 side, 3 line, 4 fence, (5 epoch)
-- ARGV: 1 ms to remember, 2 owner, (3 identity)
-- Reply: {1 if it was held, how many wait in the line, 0}

local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
local at = tonumber(redis.call('ZSCORE', KEYS[3], ARGV[2]) or 0)
-- Those who wait stand above; see `share.lua`.
if at > -1e14 or at <= -1e15 + ms or redis.call('GETRANGE', KEYS[1], 0, 6) ~= 'shared:' then
  return {0, 0, 0}
end
redis.call('ZREM', KEYS[3], ARGV[2])
redis.call('HDEL', KEYS[2], ARGV[2])
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('DEL', KEYS[1])
  return {1, 0, 0}
end
local last = redis.call('ZREVRANGE', KEYS[3], 0, 0, 'WITHSCORES')
local left = last[2] and last[2] + 1e15 - ms
if left and left > 0 and tonumber(last[2]) < -1e14 then
  -- Nobody waits, and the lock ends with the last of the others.
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', left))
  return {1, 0, 0}
end
