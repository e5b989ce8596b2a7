-- Give back to a node what it has or may have granted, use up the ballot, and
-- wake the first of the line or vote for the next.
-- ARGV: 1 owner, 2 ballot, 3 what ends: 'lease', 'attempt', 'vote', or for how
--       many ms the owner stands first in the line again if it had the vote,
--       4 next owner or '', 5 to 9 the rest of a vote, 10 identity
-- Reply: {1 if it was held, how many wait in the line, and the vote}

local owner, ballot, what = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local keep = tonumber(what)
local seen = redis.call('HMGET', KEYS[2], 'fence', 'freed', 'ballot')
-- The same attempt may have asked again, by a larger ballot, and this be late.
local held = redis.call('GET', KEYS[1]) == owner and ballot >= (tonumber(seen[3]) or 0)
if held then redis.call('DEL', KEYS[1]) end
local stored, freed = tonumber(seen[1]) or 0, tonumber(seen[2]) or 0
if held and not keep and ballot <= stored and ARGV[4] == '' and redis.call('EXISTS', KEYS[3]) == 0 then
  -- The usual case: nobody waits.
  if what == 'lease' and ballot > freed then redis.pcall('HSET', KEYS[2], 'freed', ARGV[2]) end
  return {1, 0}
end
-- pcall: without memory for it, the lock is free all the same.
if ballot > stored then
  local now = micros()
  -- One that is too far ahead was granted by nobody, and would keep all out.
  if ballot <= now + CLAMP then
    redis.pcall('HSET', KEYS[2], 'fence', ARGV[2])
    keep_side(stored, now)
    stored = ballot
  end
end
if what == 'lease' and ballot > freed and ballot <= stored then
  redis.pcall('HSET', KEYS[2], 'freed', ARGV[2])
end
if held and keep then
  -- Nobody is woken: the first knows that it is, and when to ask again.
  put_back(owner, keep)
  return {1, redis.call('ZCARD', KEYS[3])}
end
if what == 'lease' or what == 'attempt' then leave(owner) end
local reply = {held and 1 or 0, 0}
if ARGV[4] ~= '' then
  local now, said = micros(), nil
  local ask = {
    owner = ARGV[4], who = ARGV[5], ttl = ARGV[6], ballot = ARGV[7],
    keep = tonumber(ARGV[8]), role = ARGV[9],
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
