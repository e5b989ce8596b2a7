-- What `claim_share_free.lua` has begun, where it is not the usual case.

local owner, who, ttl, keep, lives = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local mode = ARGV[7]
local quarantined = quarantine()
if quarantined ~= 0 then return {3, quarantined} end

local holder, place = redis.call('GET', KEYS[1]), redis.call('HGET', KEYS[2], owner)
if place and string.sub(place, 1, 4) == 'gone' then return {2} end
local share = sharing(now, holder)
local slot, fence = string.match(place or '', '^held (%d+) (%d+) ')
if slot and share.has(owner) then
  share.extend(owner, ttl)
  share.settle()
  return {1, tonumber(fence), tonumber(slot)}
elseif slot then
  leave(owner)
  place = nil
end

local first, its_place = first_in_line(now)
local used = share.mode or (holder and '0')
if not used and first then used = string.match(its_place, '^%d+ %d+:(%-?%d+) ') or '0' end
if used and used ~= mode and (tonumber(used) > 0 or tonumber(mode) > 0) then
  return {4, tonumber(used)}
end

if (not first or first == owner) and share.has_room(mode) then
  if first then leave(owner) end
  if not share.mode then sweep(now) end -- what is left here keeps others from the usual case
  fence, slot = share.join(owner, who, mode, ttl, lives)
  if first then pcall(hand_on, now, nil, nil, nil, share) end
  return {1, fence, slot}
end
if keep > 0 then stand(owner, keep, place, now, ttl .. ':' .. mode, who) end
if not holder or share.mode then
  local served
  served, fence, slot = hand_on(now, owner, ttl, lives, share)
  if served == owner then return {1, fence, slot} end
  if not served and not share.holder then
    -- Nobody lives, or so many are dead that it is not known.
    leave(owner)
    fence, slot = share.join(owner, who, mode, ttl, lives)
    return {1, fence, slot}
  end
end
local free = free_in(redis.call('GET', KEYS[1]))
if tonumber(mode) > 0 then
  -- Any of them makes room.
  local next = redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. whole(BELOW + now / 1000), WAITING,
    'WITHSCORES', 'LIMIT', 0, 1)
  if next[2] then free = next[2] - BELOW - math.floor(now / 1000) end
end
return {0, free, ahead_of(owner, now), tonumber(redis.call('GET', KEYS[4])) or 0}
