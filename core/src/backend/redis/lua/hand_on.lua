-- Stands, after `share.lua`, before every script that can make somebody the holder.
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

-- Hand the lock to the first in the line who lives, and tell its client; if that
-- shares it, also to the next, as long as there is room. It is taken for free, or `share`
-- says how it is shared. `asking`, who needs no message, gets it for `ttl`. Answers the
-- owner who got it, its fence and its slot: `asking`, or else the first.
local function hand_on(now, asking, ttl, lives, share)
  if quarantine() ~= 0 then return nil end
  local served, its_fence, its_slot
  while true do
    local first, place = first_in_line(now)
    if not first then break end
    local wanted, mode, who, channel = string.match(place, '^%d+ (%d+):?(%-?%d*) ((%S+) .*)$')
    if share and not share.has_room(mode) then break end
    -- First of all: a script that has begun to write is given memory to go on.
    leave(first)
    -- Never more than its ttl, to which the next renewal would cut it down.
    local lasts = first == asking and ttl or math.min(GRANT_WINDOW, tonumber(wanted))
    local lived = first == asking and lives or whole(REMEMBER + math.max(STEP, wanted))
    local fence, slot, term
    if mode == '' then
      fence, term = grant(first, who, lasts, lived, now), lasts
    else
      share = share or sharing(now)
      fence, slot = share.join(first, who, mode, tonumber(lasts), lived)
      term = lasts .. ':' .. slot
    end
    local is_heard = first == asking
    if not is_heard then
      local news = table.concat({'granted', first, whole(fence), term, KEYS[1]}, ' ')
      is_heard = redis.call('PUBLISH', channel, news) > 0
    end
    if not is_heard then -- its process is gone
      looks = looks - 10
      if mode == '' then
        redis.call('DEL', KEYS[1])
      else
        leave(first)
        share.settle()
      end
    elseif not served or first == asking then
      served, its_fence, its_slot = first, fence, slot
    end
    if is_heard and mode == '' then break end
  end
  return served, its_fence, its_slot
end

-- The same after the end of a lease. The lock is free afterwards even if there
-- is no memory for another holder.
local function free_and_hand_on()
  local done, next = pcall(hand_on, micros())
  if not (done and next) then redis.call('DEL', KEYS[1]) end
end
