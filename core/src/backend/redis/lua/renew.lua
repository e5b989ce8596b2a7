-- Restart the ttl of many leases.
-- KEYS: the locks, and the fence of each
-- ARGV: 1 ms to remember, then the owner and the ttl in ms of each
-- Reply: a string with a '1' for each that was held, else '0'

local STEP = tonumber(ARGV[1]) / 24
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kept = {}
for i = 1, #KEYS / 2 do
  local lock, fence, owner, ttl = KEYS[2 * i - 1], KEYS[2 * i], ARGV[2 * i], tonumber(ARGV[2 * i + 1])
  kept[i] = '0'
  -- pcall: a key that is no lock any more must not keep the others from it.
  if redis.pcall('GETRANGE', lock, 0, #owner) == owner .. ' ' then
    redis.call('PEXPIRE', lock, ARGV[2 * i + 1])
    -- Once an hour, each at its own minute: a lease is renewed within its ttl.
    local minute = tonumber(string.sub(owner, 1, 7), 16) or 0
    if (now + minute) % STEP < ttl then
      redis.pcall('PEXPIRE', fence, string.format('%.0f', ARGV[1] + math.max(STEP, ttl)))
    end
    kept[i] = '1'
  end
end
return table.concat(kept)
