-- Take the lock from whoever holds it on this node of a quorum, or from all who share it.
-- KEYS: 1 lock, 2 side, 3 line, 4 turn, 5 ends, 6 epoch
-- ARGV: 1 ms to remember, 2 identity
-- Reply: 1 if somebody held it, else 0

local holder = redis.call('GET', KEYS[1])
if not holder then return 0 end
redis.call('DEL', KEYS[1])
local owner, channel = known(holder)
local turn = string.match(holder, '^shared:%-1 (%d+)$')
local seen = redis.call('HMGET', KEYS[2], 'ballot', 'freed')
local ballot = turn or owner and seen[1]
if ballot and tonumber(ballot) > (tonumber(seen[2]) or 0) then
  redis.pcall('HSET', KEYS[2], 'freed', ballot)
end
if owner then redis.call('PUBLISH', channel, 'gone ' .. KEYS[1]) end
if turn then
  local shares, told = redis.call('HGETALL', KEYS[4]), {}
  local largest = redis.call('HGET', KEYS[4], 'returned') or '0'
  for i = 1, #shares, 2 do
    local ballot, channel = string.match(shares[i + 1], '^(%d+) %d+ (%S+) ')
    -- None of them comes back by what it has sent before.
    if ballot and tonumber(ballot) > tonumber(largest) then largest = ballot end
    if channel and not told[channel] then
      redis.call('PUBLISH', channel, 'gone ' .. KEYS[1])
      told[channel] = true
    end
  end
  redis.call('DEL', KEYS[4], KEYS[5])
  redis.call('HSET', KEYS[4], 'returned', largest)
  live(KEYS[2], REMEMBER + STEP)
  live(KEYS[4], REMEMBER + STEP)
end
wake_next()
return 1
