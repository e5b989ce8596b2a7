-- Ask for the lock once.
-- KEYS: 1 lock, 2 side, 3 line, (4 epoch)
-- ARGV: 1 ms to remember, 2 owner, 3 channel and label, 4 ttl in ms, 5 ms to keep
--       a place in the line (0: take none), (6 identity)
-- Reply: {0, ms until the lease ends (negative: unknown), how many are ahead,
--         last fence}
--      | {1, fence} | {2} retired | {3, ms of quarantine left}

local owner, who, ttl, keep = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local quarantined = quarantine()
if quarantined ~= 0 then return {3, quarantined} end

local holder = redis.call('GET', KEYS[1])
local seen = redis.call('HMGET', KEYS[2], 'fence', owner)
if seen[2] and string.sub(seen[2], 1, 4) == 'gone' then return {2} end
local is_held = is_of(holder, owner)
if is_held and seen[1] then
  redis.call('PEXPIRE', KEYS[1], ttl)
  return {1, tonumber(seen[1])}
end
if is_held or (not holder and redis.call('EXISTS', KEYS[3]) == 0) then
  return {1, grant(owner, who, ttl, seen[1])}
end

local now = micros()
if keep > 0 then stand(owner, keep, seen[2], now, ttl, who) end
local fence = tonumber(seen[1]) or 0
if not holder then
  local first
  first, fence = hand_on(owner, ttl)
  if first == owner then return {1, fence} end
  if not first then
    -- Nobody lives, or so many are dead that it is not known.
    leave(owner)
    return {1, grant(owner, who, ttl)}
  end
end
return {0, redis.call('PTTL', KEYS[1]), ahead_of(owner, now), fence}
