-- Ask once for a lock that is to be shared. The usual case of an unused lock stands
-- here, before any function is made; `claim_share.lua` goes on in all others.
-- KEYS, ARGV and reply are those of `claim_free.lua`, and before the identity how it is
-- to be shared: -1, or among how many. After the fence comes the slot. What is answered
-- after 4 may be 0, alone. What is stored is told in `share.lua`.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local epoch = KEYS[5] and redis.call('HMGET', KEYS[5], 'identity', 'until')
local is_open = not epoch or (epoch[1] == ARGV[#ARGV] and tonumber(epoch[2]) <= now)
-- Whoever shares it, waits or has retired is in the side hash.
if is_open and redis.call('EXISTS', KEYS[2]) == 0 then
  local fence = math.max((tonumber(redis.call('GET', KEYS[4])) or 0) + 1, now)
  local text, ttl = string.format('%.0f', fence), tonumber(ARGV[4])
  if redis.call('SET', KEYS[1], 'shared:' .. ARGV[7] .. ' ' .. text, 'NX', 'PX', ARGV[4]) then
    redis.call('SET', KEYS[4], text, 'PX', ARGV[6])
    local held = string.format('held 0 %s %.0f %s', text, now, ARGV[3])
    redis.call('HSET', KEYS[2], ARGV[2], held)
    redis.call('PEXPIRE', KEYS[2], ARGV[6])
    local ends = math.floor(now / 1000) + ttl
    redis.call('ZADD', KEYS[3], string.format('%.0f', -1e15 + ends), ARGV[2])
    redis.call('PEXPIRE', KEYS[3], string.format('%.0f', math.max(tonumber(ARGV[1]), ttl)))
    return {1, fence, 0}
  end
end
