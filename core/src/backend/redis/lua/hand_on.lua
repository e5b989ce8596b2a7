-- Stands before every script that can make somebody the holder.
-- KEYS: 1 lock, 2 side, 3 line, and with quarantine=on 4 epoch; then the last
-- of ARGV is the identity of the server as the client knows it.

local GRANT_WINDOW = 1000 -- ms that a pushed grant lasts until its client extends it
local HOUR, DAY = 3600000, 86400000

local function micros()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function millis()
  return math.floor(micros() / 1000)
end

local function whole(number)
  return string.format('%.0f', number)
end

-- Make `owner` the holder for `ttl` ms; answers its fence, larger than the last
-- and, while the clock is sane, than any whose record is gone.
local function grant(owner, who, ttl, last, now)
  last = tonumber(last or redis.call('HGET', KEYS[2], 'fence')) or 0
  now = now or micros()
  local fence = math.max(last + 1, now)
  redis.call('HSET', KEYS[2], 'fence', whole(fence), 'holder', owner .. ' ' .. who)
  -- Once an hour is enough to keep it for a day after its last use.
  if math.floor(now / 1000 / HOUR) ~= math.floor(last / 1000 / HOUR) then
    redis.call('PEXPIRE', KEYS[2], DAY + HOUR)
  end
  redis.call('SET', KEYS[1], owner, 'PX', ttl)
  return fence
end

-- For how many ms nothing may be granted yet; -1: the identity is out of date.
local function quarantine()
  if not KEYS[4] then return 0 end
  local epoch = redis.call('HMGET', KEYS[4], 'identity', 'until')
  if epoch[1] ~= ARGV[#ARGV] then return -1 end
  return math.max(0, math.ceil((tonumber(epoch[2]) - micros()) / 1000))
end

-- Hand the free lock to the first in the line who lives, and tell its client;
-- `asking`, who needs no message, gets it for `ttl`. Answers owner and fence.
local function hand_on(asking, ttl)
  if quarantine() ~= 0 then return nil end
  while true do
    local first = redis.call('ZPOPMIN', KEYS[3])[1]
    if not first then return nil end
    local seen = redis.call('HMGET', KEYS[2], first, 'fence')
    redis.call('HDEL', KEYS[2], first)
    local till, wanted, who, channel = string.match(seen[1] or '', '^(%d+) (%d+) ((%S+) .*)$')
    local now = micros()
    if till and first == asking then return first, grant(first, who, ttl, seen[2], now) end
    if till and tonumber(till) * 1000 > now then
      -- Never more than its ttl, to which the next renewal would cut it down.
      local lasts = math.min(GRANT_WINDOW, tonumber(wanted))
      local fence = grant(first, who, lasts, seen[2], now)
      local news = table.concat({'granted', first, whole(fence), lasts, KEYS[1]}, ' ')
      if redis.call('PUBLISH', channel, news) > 0 then return first, fence end
      redis.call('DEL', KEYS[1]) -- nobody listens: its process is gone
    end
  end
end

-- The same after the end of a lease. The lock is free afterwards even if there
-- is no memory for another holder.
local function free_and_hand_on()
  local done, next = pcall(hand_on)
  if not (done and next) then redis.call('DEL', KEYS[1]) end
end
