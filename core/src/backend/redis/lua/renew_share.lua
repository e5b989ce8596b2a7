-- Restart the ttl of many leases that share their locks.
-- KEYS: lock, side, line and fence of each
-- ARGV: 1 ms to remember, then the owner and the ttl in ms of each
-- Reply: a string with a '1' for each that was held, else '0'

local REMEMBER = tonumber(ARGV[1])
local STEP = REMEMBER / 24
local BELOW, WAITING = -1e15, -1e14 -- as in `line.lua`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kept = {}

local function whole(number)
  return string.format('%.0f', number)
end

local function live(key, span)
  if redis.pcall('PTTL', key) < span then redis.pcall('PEXPIRE', key, whole(span)) end
end

for i = 0, #KEYS / 4 - 1 do
  local lock, side, line, fence = unpack(KEYS, 4 * i + 1, 4 * i + 4)
  local owner, ttl = ARGV[2 * i + 2], tonumber(ARGV[2 * i + 3])
  -- pcall: a key that is no lock any more must not keep the others from it.
  local at = redis.pcall('ZSCORE', line, owner)
  at = type(at) == 'string' and tonumber(at)
  local is_shared = redis.pcall('GETRANGE', lock, 0, 6) == 'shared:'
  kept[i + 1] = '0'
  if is_shared and at and at < WAITING and at > BELOW + now then
    -- First: a script that has begun to write is given memory to go on.
    redis.call('PEXPIRE', lock, whole(ttl))
    redis.call('ZADD', line, whole(BELOW + now + ttl), owner)
    -- It may have been cut down.
    local last = redis.call('ZREVRANGEBYSCORE', line, whole(WAITING), '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
    redis.call('PEXPIRE', lock, whole(last[2] - BELOW - now))
    live(side, REMEMBER + math.max(STEP, ttl))
    live(line, math.max(REMEMBER, ttl))
    live(fence, REMEMBER + math.max(STEP, ttl))
    kept[i + 1] = '1'
  end
end
return table.concat(kept)
