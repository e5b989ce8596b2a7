-- Ask for the lock once. The usual case stands here, before any function is
-- made; `claim.lua` goes on where somebody holds the lock, or waits for it.
-- KEYS: 1 lock, 2 side, 3 line, 4 fence, (5 epoch)
-- ARGV: 1 ms to remember, 2 owner, 3 channel and label, 4 ttl in ms, 5 ms to keep
--       a place in the line (0: take none), 6 ms that the fence is remembered if
--       it is granted, (7 identity)
-- Reply: {0, ms until it is worth asking again (negative: unknown), how many are ahead,
--         last fence}
--      | {1, fence} | {2} retired | {3, ms of quarantine left}
--      | {4, how it is shared} which does not go with it

local time = redis.call('TIME')
local fence = time[1] * 1000000 + time[2]
local epoch = KEYS[5] and redis.call('HMGET', KEYS[5], 'identity', 'until')
local is_open = not epoch or (epoch[1] == ARGV[#ARGV] and tonumber(epoch[2]) <= fence)
-- Whoever waits or has retired is in the side hash.
if is_open and redis.call('EXISTS', KEYS[2]) == 0
    and redis.call('SET', KEYS[1], ARGV[2] .. ' ' .. ARGV[3], 'NX', 'PX', ARGV[4]) then
  local text = string.format('%.0f', fence)
  local last = redis.pcall('SET', KEYS[4], text, 'PX', ARGV[6], 'GET')
  if type(last) == 'table' then -- it is no fence
    redis.call('DEL', KEYS[1])
    error(last.err, 0)
  end
  last = tonumber(last)
  if last and last >= fence then
    fence = last + 1
    redis.call('SET', KEYS[4], string.format('%.0f', fence), 'PX', ARGV[6])
  end
  return {1, fence}
end
