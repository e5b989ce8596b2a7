-- Give back to a node what it has or may have granted, use up the ballot, and
-- wake the first of the line or vote for the next.
-- ARGV: 1 ms to remember, 2 owner, 3 ballot, 4 what ends: 'lease', 'attempt',
--       'vote', or for how many ms the owner stands first in the line again if it
--       had the vote, 5 next owner or '', 6 to 10 the rest of a vote, 11 identity
-- Reply: {1 if it was held, how many wait in the line, and the vote}

local owner, ballot, what = ARGV[2], tonumber(ARGV[3]), ARGV[4]
local keep = tonumber(what)
local seen = redis.call('HMGET', KEYS[2], 'fence', 'freed', 'ballot')
-- The same attempt may have asked again, by a larger ballot, and this be late.
local value = redis.call('GET', KEYS[1])
local held = is_of(value, owner) and ballot >= (tonumber(seen[3]) or 0)
if held then redis.call('DEL', KEYS[1]) end
local stored, freed = tonumber(seen[1]) or 0, tonumber(seen[2]) or 0
if held and not keep and ballot <= stored and ARGV[5] == '' and redis.call('EXISTS', KEYS[3]) == 0 then
  -- The usual case: nobody waits.
  if what == 'lease' and ballot > freed then redis.pcall('HSET', KEYS[2], 'freed', ARGV[3]) end
  return {1, 0}
end
-- pcall: without memory for it, the lock is free all the same.
if ballot > stored then
  local now = micros()
  -- One that is too far ahead was granted by nobody, and would keep all out.
  if ballot <= now + CLAMP then
    redis.pcall('HSET', KEYS[2], 'fence', ARGV[3])
    remember(stored, ballot, 0)
    stored = ballot
  end
end
if what == 'lease' and ballot > freed and ballot <= stored then
  redis.pcall('HSET', KEYS[2], 'freed', ARGV[3])
end
if held and keep then
  -- Nobody is woken: the first knows that it is, and when to ask again.
  put_back(owner, value, keep)
  return {1, redis.call('ZCARD', KEYS[3])}
end
if what == 'lease' or what == 'attempt' then leave(owner) end
local reply = {held and 1 or 0, 0}
if ARGV[5] ~= '' then
  local now, said = micros(), nil
  local ask = {
    owner = ARGV[5], who = ARGV[6], ttl = ARGV[7], ballot = ARGV[8],
    keep = tonumber(ARGV[9]), role = ARGV[10],
  }
  local left, floor = quarantine(now)
  if held and left == 0 then
    said = grant(ask, stored, floor, now, true) -- who held it says whose turn it is
  else
    said = vote(ask, now)
  end
  for i = 1, #said do reply[i + 2] = said[i] end
end
wake_next()
reply[2] = redis.call('ZCARD', KEYS[3])
return reply
