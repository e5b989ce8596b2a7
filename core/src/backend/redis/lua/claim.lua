-- What `claim_free.lua` has begun, where it is not the usual case.

local owner, who, ttl, keep, lives = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
local quarantined = quarantine()
if quarantined ~= 0 then return {3, quarantined} end

local holder = redis.call('GET', KEYS[1])
local place = redis.call('HGET', KEYS[2], owner)
if place and string.sub(place, 1, 4) == 'gone' then return {2} end
local last = tonumber(redis.call('GET', KEYS[4]))
local is_held = is_of(holder, owner)
if is_held and last then
  redis.call('PEXPIRE', KEYS[1], ttl)
  return {1, last}
end
local now = micros()
if is_held or (not holder and redis.call('EXISTS', KEYS[3]) == 0) then
  sweep(now) -- what is left here keeps others from the usual case
  return {1, grant(owner, who, ttl, lives, now)}
end
local permits = string.match(holder or '', '^shared:(%d+) ')
if not holder then
  local _, first = first_in_line(now)
  permits = string.match(first or '', '^%d+ %d+:(%d+) ')
end
if permits then return {4, tonumber(permits)} end

if keep > 0 then stand(owner, keep, place, now, ttl, who) end
if not holder then
  local first, fence = hand_on(now, owner, ttl, lives)
  if first == owner then return {1, fence} end
  if not first then
    -- Nobody lives, or so many are dead that it is not known.
    leave(owner)
    return {1, grant(owner, who, ttl, lives, now)}
  end
  last = fence
end
return {0, free_in(holder or redis.call('GET', KEYS[1])), ahead_of(owner, now), last or 0}
