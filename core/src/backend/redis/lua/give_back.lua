-- What `give_back_last.lua` has begun, where it is not the usual case.

-- One that is too far ahead was granted by nobody, and would keep all out.
if ballot > stored and ballot <= micros() + CLAMP then
  -- pcall: without memory for it, the lock is free all the same. Then nothing more is
  -- written about it, which would have no end.
  if type(redis.pcall('HSET', KEYS[2], 'fence', ARGV[3])) == 'number' then
    remember(stored, ballot, 0)
    stored = ballot
  end
end
if what == 'lease' and ballot > freed and ballot <= stored then
  redis.pcall('HSET', KEYS[2], 'freed', ARGV[3])
end
if held and keep then
  -- Nobody is woken: the first knows that it is, and when to ask again.
  put_back(owner, string.sub(value, #owner + 2), keep, keep)
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
