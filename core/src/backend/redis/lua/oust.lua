-- Take the lock from whoever holds it on this node of a quorum.
-- ARGV: 1 identity
-- Reply: 1 if somebody held it, else 0

local holder = redis.call('GET', KEYS[1])
if not holder then return 0 end
redis.call('DEL', KEYS[1])
local seen = redis.call('HMGET', KEYS[2], 'holder', 'ballot', 'freed')
local owner, channel = string.match(seen[1] or '', '^(%S+) (%S+) ')
if owner == holder then
  if tonumber(seen[2]) > (tonumber(seen[3]) or 0) then
    redis.pcall('HSET', KEYS[2], 'freed', seen[2])
  end
  redis.call('PUBLISH', channel, 'gone ' .. KEYS[1])
end
wake_next()
return 1
