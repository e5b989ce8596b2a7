-- What `release_last.lua` has begun, where it is not the usual case.

local next, fence = ARGV[3], 0
local place = next ~= '' and redis.call('HGET', KEYS[2], next) or ''
local is_gone = string.sub(place, 1, 4) == 'gone'
if next ~= '' and not is_gone and quarantine() == 0 then
  local ttl, mode = string.match(ARGV[5], '^(%d+):?(%-?%d*)$')
  local now = micros()
  leave(next)
  if mode == '' then
    fence = grant(next, ARGV[4], ttl, ARGV[6], now)
  else
    local share = sharing(now)
    fence = share.join(next, ARGV[4], mode, tonumber(ttl), ARGV[6])
    pcall(hand_on, now, nil, nil, nil, share)
  end
else
  free_and_hand_on()
end
return {1, redis.call('ZCOUNT', KEYS[3], WAITING, '+inf'), fence}
