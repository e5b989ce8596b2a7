-- Stands before every script about one lock.
-- KEYS: 1 lock, 2 side, 3 line
-- The first of ARGV: for how many ms a name is remembered after its last use.
-- The lock: 'owner channel label' of the holder.
-- The line: owners by their place, above all of those who share the lock; see
-- `share.lua`. In the side hash, who waits: owner = 'ttl channel label', after the
-- time in ms until when it is taken for alive; 'ttl:mode' if it would share it.

local REMEMBER = tonumber(ARGV[1])
local STEP = REMEMBER / 24
local looks = 1000 -- at so many places a script looks, whatever there is
-- So many stand in a line. When it expires, the server deletes all of it at once.
local PLACES = 10000
local BELOW = -1e15 -- who shares the lock stands here, and as many ms above as its end
local WAITING = '-100000000000000' -- all who wait stand above this

local function micros()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function whole(number)
  return string.format('%.0f', number)
end

local function is_of(value, owner)
  return value and string.sub(value, 1, #owner + 1) == owner .. ' '
end

-- The owner and the channel of a holder, if it is a client of ours.
local function known(value)
  return string.match(value or '', '^(%x+) (leasehold:%x+) ')
end

-- In how many ms it is worth asking again for a lock that is held: when its time is over.
-- Another library tells nobody of a release, so its lock is looked at as often as those
-- libraries do that try until they have it.
local POLL = 100
local function free_in(holder)
  local left = redis.call('PTTL', KEYS[1])
  local word = string.match(holder or '', '^(%l+)[ :]')
  if known(holder) or word == 'shared' or word == 'rest' then return left end
  return left < 0 and POLL or math.min(left, POLL)
end

local function live(key, span)
  if redis.call('PTTL', key) < span then redis.call('PEXPIRE', key, whole(span)) end
end

-- Whoever writes to the side hash calls this, so that it lives as long as a name
-- is remembered, and ends. What is written there, the fence or else a time in µs,
-- was `before` (0 for nothing); while that is of the same hour, the hash exists
-- and lives long enough.
local function remember(before, now, ttl)
  if ttl > STEP then
    live(KEYS[2], REMEMBER + ttl)
  elseif math.floor(before / 1000 / STEP) ~= math.floor(now / 1000 / STEP) then
    live(KEYS[2], REMEMBER + STEP)
  end
end

local function leave(owner)
  redis.call('ZREM', KEYS[3], owner)
  redis.call('HDEL', KEYS[2], owner)
end

local function is_alive(place, now)
  local till = tonumber(string.match(place or '', '^(%d+) '))
  return till and till * 1000 > now
end

-- The first in the line who lives, and its place. The dead before it are forgotten, as many as one script may look at: where there are
-- more, nobody is found, and whoever asks next goes on from there.
local function first_in_line(now)
  local several = 1
  while looks > 0 do
    local owners = redis.call('ZRANGEBYSCORE', KEYS[3], WAITING, '+inf', 'LIMIT', 0, several)
    if #owners == 0 then return nil end
    local places = redis.call('HMGET', KEYS[2], unpack(owners))
    local dead = 0
    while dead < #owners and not is_alive(places[dead + 1], now) do dead = dead + 1 end
    if dead > 0 then
      redis.call('ZREM', KEYS[3], unpack(owners, 1, dead))
      redis.call('HDEL', KEYS[2], unpack(owners, 1, dead))
    end
    looks = looks - #owners
    if dead < #owners then return owners[dead + 1], places[dead + 1] end
    several = math.min(several * 8, 250)
  end
end

-- Forget some of what is over, wherever it is: more than comes with one claim.
local function sweep(now)
  local some, over = redis.call('HRANDFIELD', KEYS[2], 8, 'WITHVALUES'), {}
  for i = 1, #some, 2 do
    local till = string.match(some[i + 1], '^(%d+) ') or string.match(some[i + 1], '^gone (%d+)$')
    if string.sub(some[i + 1], 1, 5) == 'held ' then
      till = (redis.call('ZSCORE', KEYS[3], some[i]) or BELOW) - BELOW
    end
    if till and tonumber(till) * 1000 <= now then over[#over + 1] = some[i] end
  end
  if #over > 0 then
    redis.call('HDEL', KEYS[2], unpack(over))
    redis.call('ZREM', KEYS[3], unpack(over))
  end
end

-- Take a place in the line, or keep it for another `keep` ms; `place`: as it was.
-- Who finds no place asks again, as all do.
local function stand(owner, keep, place, now, ttl, who)
  local till = now / 1000 + keep
  if not redis.call('ZSCORE', KEYS[3], owner) then
    if redis.call('ZCARD', KEYS[3]) >= PLACES then
      first_in_line(now)
      sweep(now)
      if redis.call('ZCARD', KEYS[3]) >= PLACES then return end
    end
    local last = redis.call('ZREVRANGE', KEYS[3], 0, 0, 'WITHSCORES')
    redis.call('ZADD', KEYS[3], math.max(last[2] or 0, 0) + 1, owner)
    place = nil
  end
  redis.call('HSET', KEYS[2], owner, table.concat({whole(till), ttl, who}, ' '))
  local before = tonumber(string.match(place or '', '^%d+')) or 0
  remember(before * 1000, till * 1000, 0)
  if math.floor(before / STEP) ~= math.floor(till / STEP) then live(KEYS[3], REMEMBER) end
end

-- How many stand before one who waits or would.
local function ahead_of(owner, now)
  for look = 1, 2 do
    local ahead = redis.call('ZRANK', KEYS[3], owner) or redis.call('ZCARD', KEYS[3])
    if ahead > 0 then ahead = ahead - redis.call('ZCOUNT', KEYS[3], '-inf', WAITING) end
    if ahead < 8 or look == 2 then return ahead end
    first_in_line(now)
    sweep(now)
  end
end
