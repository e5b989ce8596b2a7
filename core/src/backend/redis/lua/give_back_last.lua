-- Give back to a node what it has or may have granted, use up the ballot, and wake
-- the first of the line or vote for the next. The usual case stands here, before
-- any function is made; `give_back.lua` goes on where somebody waits.
-- KEYS: 1 lock, 2 side, 3 line, 4 epoch
-- ARGV: 1 ms to remember, 2 owner, 3 ballot, 4 what ends: 'lease', 'attempt',
--       'vote', or for how many ms the owner stands first in the line again if it
--       had the vote, 5 next owner or '', 6 to 10 the rest of a vote, 11 identity
-- Reply: {1 if it was held, how many wait in the line, and the vote}

local owner, ballot, what = ARGV[2], tonumber(ARGV[3]), ARGV[4]
local keep = tonumber(what)
local seen = redis.call('HMGET', KEYS[2], 'fence', 'freed', 'ballot')
local stored, freed = tonumber(seen[1]) or 0, tonumber(seen[2]) or 0
local value = redis.call('GET', KEYS[1])
-- The same attempt may have asked again, by a larger ballot, and this be late.
local held = value and string.sub(value, 1, #owner + 1) == owner .. ' '
  and ballot >= (tonumber(seen[3]) or 0)
if held then redis.call('DEL', KEYS[1]) end
if held and not keep and ballot <= stored and ARGV[5] == '' and redis.call('EXISTS', KEYS[3]) == 0 then
  if what == 'lease' and ballot > freed then redis.pcall('HSET', KEYS[2], 'freed', ARGV[3]) end
  return {1, 0}
end
