-- Stands before the scripts of a node of a quorum.
-- KEYS: 1 lock, 2 side, 3 line, 4 epoch
-- The last of ARGV is the identity of the server as the client knows it.
-- In the side hash: 'fence', the largest ballot that was granted or used up;
-- 'freed', the largest of a lease that was released; 'holder' and 'ballot', of
-- the last grant; 'reserved', until when (in ms) the line on another node is
-- known to live; and who waits here: owner = 'ms ttl channel label'.

local CLAMP = 1000000 -- µs that a ballot may be ahead of our clock
local OLDEST = 43200000000 -- µs: a ballot that is older is stale
local HOUR, DAY = 3600000, 86400000
local BUSY, GRANTED, RESERVED, QUARANTINED, STALE, AHEAD = 0, 1, 2, 3, 4, 5

local function micros()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function whole(number)
  return string.format('%.0f', number)
end

-- For how many ms nothing may be granted yet (-1: the identity is out of date),
-- and when that ended or ends, in µs.
local function quarantine(now)
  local epoch = redis.call('HMGET', KEYS[4], 'identity', 'until')
  if epoch[1] ~= ARGV[#ARGV] then return -1, now end
  local ends = tonumber(epoch[2])
  return math.max(0, math.ceil((ends - now) / 1000)), ends
end

local function leave(owner)
  redis.call('ZREM', KEYS[3], owner)
  redis.call('HDEL', KEYS[2], owner)
end

-- The holder gives its vote back: it was its turn, and still is, only the other
-- nodes do not know it yet.
local function put_back(owner, keep)
  local known = redis.call('HGET', KEYS[2], 'holder') or ''
  local first = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
  redis.call('ZADD', KEYS[3], (first[2] or 1) - 1, owner)
  redis.call('PEXPIRE', KEYS[3], DAY)
  local place = {whole(micros() / 1000 + keep), keep, string.sub(known, #owner + 2)}
  redis.call('HSET', KEYS[2], owner, table.concat(place, ' '))
end

-- The first in the line who lives, and its channel.
local function first_in_line(now)
  while true do
    local first = redis.call('ZRANGE', KEYS[3], 0, 0)[1]
    if not first then return nil end
    local place = redis.call('HGET', KEYS[2], first) or ''
    local till, channel = string.match(place, '^(%d+) %d+ (%S+) ')
    if till and tonumber(till) * 1000 > now then return first, channel end
    leave(first)
  end
end

local function keep_side(stored, now)
  -- Once an hour is enough to keep it for a day after its last use.
  if math.floor(now / 1000 / HOUR) ~= math.floor(stored / 1000 / HOUR) then
    redis.call('PEXPIRE', KEYS[2], DAY + HOUR)
  end
end

-- Make it the holder, if the ballot is one that can be granted.
local function grant(ask, stored, floor, now, has_line)
  local ballot, above = tonumber(ask.ballot), math.max(stored, floor, now - OLDEST)
  if ballot <= above then return {STALE, now, above} end
  if ballot > now + CLAMP then return {AHEAD, now} end
  local waiting = has_line and redis.call('ZCARD', KEYS[3]) or 0
  if waiting > 0 and redis.call('ZREM', KEYS[3], ask.owner) == 1 then
    redis.call('HDEL', KEYS[2], ask.owner)
    waiting = waiting - 1
  end
  redis.call('SET', KEYS[1], ask.owner, 'PX', ask.ttl)
  redis.call('HSET', KEYS[2], 'fence', ask.ballot, 'ballot', ask.ballot, 'holder', ask.owner .. ' ' .. ask.who)
  -- Not the reverse: who came since they were counted would be forgotten.
  if (tonumber(ask.role) or 0) > 0 and ask.keep > 0 then
    redis.call('HSET', KEYS[2], 'reserved', whole(now / 1000 + ask.keep))
  end
  keep_side(stored, now)
  return {GRANTED, now, waiting}
end

-- Take a place in the line, or note that there is one elsewhere.
local function queue(ask, reserved, now)
  local till = now / 1000 + ask.keep
  if ask.role == 'arbiter' then
    if not redis.call('ZSCORE', KEYS[3], ask.owner) then
      local last = redis.call('ZREVRANGE', KEYS[3], 0, 0, 'WITHSCORES')
      redis.call('ZADD', KEYS[3], (last[2] or 0) + 1, ask.owner)
      redis.call('PEXPIRE', KEYS[3], DAY)
    end
    redis.call('HSET', KEYS[2], ask.owner, table.concat({whole(till), ask.ttl, ask.who}, ' '))
  elseif till > reserved then
    redis.call('HSET', KEYS[2], 'reserved', whole(till))
  end
end

local function vote(ask, now)
  local left, floor = quarantine(now)
  if left ~= 0 then return {QUARANTINED, now, left} end
  local holder = redis.call('GET', KEYS[1])
  local seen = redis.call('HMGET', KEYS[2], 'fence', 'ballot', 'reserved')
  local stored, reserved = tonumber(seen[1]) or 0, tonumber(seen[3]) or 0
  if holder == ask.owner then
    local ballot = tonumber(ask.ballot)
    if ask.ballot ~= seen[2] then
      local above = math.max(stored, floor)
      if ballot <= above then return {STALE, now, above} end
      if ballot > now + CLAMP then return {AHEAD, now} end
      redis.call('HSET', KEYS[2], 'fence', ask.ballot, 'ballot', ask.ballot)
    end
    redis.call('PEXPIRE', KEYS[1], ask.ttl)
    return {GRANTED, now, redis.call('ZCARD', KEYS[3])}
  end
  if not holder then
    local has_line = redis.call('EXISTS', KEYS[3]) == 1
    local first = has_line and first_in_line(now)
    local is_open = ask.role == 'arbiter' or reserved * 1000 <= now
    if tonumber(ask.role) or first == ask.owner or (not first and is_open) then
      return grant(ask, stored, floor, now, has_line)
    end
  end
  if ask.keep > 0 then
    queue(ask, reserved, now)
    if stored == 0 then redis.call('PEXPIRE', KEYS[2], DAY + HOUR) end
  end
  local ahead = redis.call('ZRANK', KEYS[3], ask.owner) or redis.call('ZCARD', KEYS[3])
  if not holder then return {RESERVED, now, ahead} end
  local known = redis.call('HGET', KEYS[2], 'holder') or ''
  local is_ours = string.sub(known, 1, #holder + 1) == holder .. ' '
  return {BUSY, now, is_ours and tonumber(seen[2]) or 0, redis.call('PTTL', KEYS[1]), ahead}
end

-- Tell the first of the line, if the lock is free, that it is its turn.
local function wake_next()
  if redis.call('EXISTS', KEYS[3]) == 0 or redis.call('EXISTS', KEYS[1]) == 1 then return end
  local now = micros()
  while true do
    local first, channel = first_in_line(now)
    if not first then return end
    local news = table.concat({'turn', first, redis.call('ZCARD', KEYS[3]) - 1, KEYS[1]}, ' ')
    if redis.call('PUBLISH', channel, news) > 0 then return end
    leave(first) -- nobody listens: its process is gone
  end
end
