-- Stands, after `line.lua`, before every script that can make somebody the holder.
-- KEYS: 4 fence, the last; with quarantine=on 5 epoch; then the last of ARGV is the
-- identity of the server as the client knows it.
-- In the side hash also owner = 'gone ms', until when claims of this owner are
-- refused.

local GRANT_WINDOW = 2000 -- ms that a pushed grant lasts until its client extends it

-- Make `owner` the holder for `ttl` ms; answers its fence, larger than the last
-- and, while the clock is sane, than any whose record is gone.
local function grant(owner, who, ttl, lives, now)
  local last = tonumber(redis.call('GET', KEYS[4])) or 0
  local fence = math.max(last + 1, now)
  redis.call('SET', KEYS[4], whole(fence), 'PX', lives)
  redis.call('SET', KEYS[1], owner .. ' ' .. who, 'PX', ttl)
  return fence
end

-- For how many ms nothing may be granted yet; -1: the identity is out of date.
local function quarantine()
  if not KEYS[5] then return 0 end
  local epoch = redis.call('HMGET', KEYS[5], 'identity', 'until')
  if epoch[1] ~= ARGV[#ARGV] then return -1 end
  return math.max(0, math.ceil((tonumber(epoch[2]) - micros()) / 1000))
end

-- Hand the free lock to the first in the line who lives, and tell its client;
-- `asking`, who needs no message, gets it for `ttl`. Answers owner and fence.
local function hand_on(now, asking, ttl, lives)
  if quarantine() ~= 0 then return nil end
  while true do
    local first, place = first_in_line(now)
    if not first then return nil end
    -- First of all: a script that has begun to write is given memory to go on.
    leave(first)
    local wanted, who, channel = string.match(place, '^%d+ (%d+) ((%S+) .*)$')
    if first == asking then return first, grant(first, who, ttl, lives, now) end
    -- Never more than its ttl, to which the next renewal would cut it down.
    local lasts = math.min(GRANT_WINDOW, tonumber(wanted))
    local fence = grant(first, who, lasts, whole(REMEMBER + math.max(STEP, wanted)), now)
    local news = table.concat({'granted', first, whole(fence), lasts, KEYS[1]}, ' ')
    if redis.call('PUBLISH', channel, news) > 0 then return first, fence end
    redis.call('DEL', KEYS[1]) -- nobody listens: its process is gone
    looks = looks - 10
  end
end

-- The same after the end of a lease. The lock is free afterwards even if there
-- is no memory for another holder.
local function free_and_hand_on()
  local done, next = pcall(hand_on, micros())
  if not (done and next) then redis.call('DEL', KEYS[1]) end
end
