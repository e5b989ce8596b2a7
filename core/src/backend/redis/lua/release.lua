-- What `release_last.lua` has begun, where it is not the usual case.

local next, fence = ARGV[3], 0
local place = next ~= '' and redis.call('HGET', KEYS[2], next) or ''
local is_gone = string.sub(place, 1, 4) == 'gone'
if next ~= '' and not is_gone and quarantine() == 0 then
  leave(next)
  fence = grant(next, ARGV[4], ARGV[5], ARGV[6], micros())
else
  free_and_hand_on()
end
return {1, redis.call('ZCARD', KEYS[3]), fence}
