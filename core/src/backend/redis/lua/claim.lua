-- Ask for the lock once.
-- KEYS: 1 lock, 2 side, 3 line, (4 epoch)
-- ARGV: 1 owner, 2 channel and label, 3 ttl in ms, 4 ms to keep a place in the
--       line (0: take none), (5 identity)
-- Reply: {0, ms until the lease ends (negative: unknown), how many are ahead,
--         last fence}
--      | {1, fence} | {2} retired | {3, ms of quarantine left}

local owner, who, ttl, keep = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local quarantined = quarantine()
if quarantined ~= 0 then return {3, quarantined} end

local holder = redis.call('GET', KEYS[1])
local seen = redis.call('HMGET', KEYS[2], 'fence', owner)
if seen[2] and string.sub(seen[2], 1, 4) == 'gone' then return {2} end
if holder == owner and seen[1] then
  redis.call('PEXPIRE', KEYS[1], ttl)
  return {1, tonumber(seen[1])}
end
if holder == owner or (not holder and redis.call('EXISTS', KEYS[3]) == 0) then
  return {1, grant(owner, who, ttl, seen[1])}
end

if keep > 0 then
  if not redis.call('ZSCORE', KEYS[3], owner) then
    local last = redis.call('ZREVRANGE', KEYS[3], 0, 0, 'WITHSCORES')
    redis.call('ZADD', KEYS[3], (last[2] or 0) + 1, owner)
    redis.call('PEXPIRE', KEYS[3], DAY)
  end
  redis.call('HSET', KEYS[2], owner, table.concat({whole(millis() + keep), ttl, who}, ' '))
  if not seen[2] then redis.call('PEXPIRE', KEYS[2], DAY + HOUR) end
end
local fence = tonumber(seen[1]) or 0
if not holder then
  local first
  first, fence = hand_on(owner, ttl)
  if first == owner then return {1, fence} end
  if not first then return {1, grant(owner, who, ttl)} end
end
local ahead = redis.call('ZRANK', KEYS[3], owner) or redis.call('ZCARD', KEYS[3])
return {0, redis.call('PTTL', KEYS[1]), ahead, fence}
