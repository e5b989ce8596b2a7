-- Make another owner the holder in the place of one, in its turn and its slot.
-- KEYS: 1 lock, 2 side, 3 line, 4 fence
-- ARGV: 1 ms to remember, 2 owner, 3 the other, 4 its channel and label, 5 its ttl in ms,
--       6 ms that the fence is remembered
-- Reply: 1 if the other holds it now, else 0: neither of the two did

local owner, other, who, ttl = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local place = redis.call('HGET', KEYS[2], other)
if place and string.sub(place, 1, 4) == 'gone' then return 0 end
local holder, now = redis.call('GET', KEYS[1]), micros()
local share = sharing(now, holder)
if is_of(holder, other) then
  redis.call('PEXPIRE', KEYS[1], ttl)
elseif is_of(holder, owner) then
  redis.call('SET', KEYS[1], other .. ' ' .. who, 'PX', ttl)
elseif share.has(other) then
  share.extend(other, ttl)
  share.settle()
elseif share.has(owner) then
  local held = redis.call('HGET', KEYS[2], owner) or ''
  local turn = string.match(held, '^held %d+ %d+ %d+ ')
  if not turn then return 0 end
  redis.call('HSET', KEYS[2], other, turn .. who)
  share.extend(other, ttl)
  leave(owner)
  share.settle()
else
  return 0
end
live(KEYS[4], tonumber(ARGV[6]))
return 1
