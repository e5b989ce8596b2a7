-- Give back to a node of a quorum what one who would share the lock has or may have there,
-- use up the ballot, and wake those whose turn it is.
-- KEYS: 1 lock, 2 side, 3 line, 4 turn, 5 ends, 6 epoch
-- ARGV: 1 to 4 as those of `give_back_last.lua`, 5 identity
-- Reply: {1 if it had a share, how many wait in the line}

local key = {lock = KEYS[1], side = KEYS[2], turn = KEYS[4], ends = KEYS[5]}
local owner, ballot, what = ARGV[2], tonumber(ARGV[3]), ARGV[4]
local keep = tonumber(what)
local held = turn_in(redis.call('GET', KEYS[1])) and has_share(key, owner)
local largest, who = string.match(redis.call('HGET', KEYS[4], owner) or '', '^(%d+) %d+ (.*)$')
-- The same attempt may have asked again, by a larger ballot, and this be late.
if held and (keep or what == 'vote') and tonumber(largest) > ballot then held = false
elseif held then leave_turn(key, owner) end
-- One that is too far ahead was granted by nobody, and would keep all out.
if ballot > spent(key) and (held or ballot <= now + CLAMP) then
  -- pcall: without memory for it, the share is over all the same.
  if type(redis.pcall('HSET', KEYS[4], 'returned', ARGV[3])) == 'number' then
    lives(KEYS[4], REMEMBER + STEP)
  end
end
if held and keep then
  -- Nobody is woken: the first knows that it is, and when to ask again.
  put_back(owner, who, keep, 0)
  return {1, redis.call('ZCARD', KEYS[3])}
end
if what == 'lease' or what == 'attempt' then leave(owner) end
wake_next()
return {held and 1 or 0, redis.call('ZCARD', KEYS[3])}
