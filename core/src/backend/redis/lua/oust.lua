-- Take the lock from whoever holds it on this node of a quorum.
-- ARGV: 1 ms to remember, 2 identity
-- Reply: 1 if somebody held it, else 0

local holder = redis.call('GET', KEYS[1])
if not holder then return 0 end
redis.call('DEL', KEYS[1])
local owner, channel = known(holder)
if owner then
  local seen = redis.call('HMGET', KEYS[2], 'ballot', 'freed')
  if seen[1] and tonumber(seen[1]) > (tonumber(seen[2]) or 0) then
    redis.pcall('HSET', KEYS[2], 'freed', seen[1])
  end
  redis.call('PUBLISH', channel, 'gone ' .. KEYS[1])
end
wake_next()
return 1
