-- Stands, after `line.lua`, before the scripts of a node of a quorum.
-- KEYS: the last is the epoch.
-- The last of ARGV is the identity of the server as the client knows it.
-- In the side hash: 'fence', the largest ballot that was granted or used up;
-- 'freed', the largest of a lease that was released; 'ballot', of the last
-- grant; 'reserved', until when (in ms) the line on another node is known to live.

local CLAMP = 1000000 -- µs that a ballot may be ahead of our clock
local OLDEST = REMEMBER / 2 * 1000 -- µs: a ballot that is older is stale
local BUSY, GRANTED, RESERVED, QUARANTINED, STALE, AHEAD = 0, 1, 2, 3, 4, 5

-- For how many ms nothing may be granted yet (-1: the identity is out of date),
-- and when that ended or ends, in µs.
local function quarantine(now)
  local epoch = redis.call('HMGET', KEYS[#KEYS], 'identity', 'until')
  if epoch[1] ~= ARGV[#ARGV] then return -1, now end
  local ends = tonumber(epoch[2])
  return math.max(0, math.ceil((ends - now) / 1000)), ends
end

-- The holder gives its vote back: it was its turn, and still is, only the other nodes do
-- not know it yet.
local function put_back(owner, who, keep, ttl)
  local first = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
  redis.call('ZADD', KEYS[3], (first[2] or 1) - 1, owner)
  stand(owner, keep, nil, micros(), ttl, who)
end

-- Make it the holder, if the ballot is one that can be granted.
local function grant(ask, stored, floor, now, has_line)
  local ballot, above = tonumber(ask.ballot), math.max(stored, floor, now - OLDEST)
  if ballot <= above then return {STALE, now, above} end
  if ballot > now + CLAMP then return {AHEAD, now} end
  if has_line then leave(ask.owner) end
  redis.call('SET', KEYS[1], ask.owner .. ' ' .. ask.who, 'PX', ask.ttl)
  redis.call('HSET', KEYS[2], 'fence', ask.ballot, 'ballot', ask.ballot)
  remember(stored, ballot, tonumber(ask.ttl))
  -- Not the reverse: who came since they were counted would be forgotten.
  if (tonumber(ask.role) or 0) > 0 and ask.keep > 0 then
    redis.call('HSET', KEYS[2], 'reserved', whole(now / 1000 + ask.keep))
  end
  return {GRANTED, now, has_line and redis.call('ZCARD', KEYS[3]) or 0}
end

-- Take a place in the line, or note that there is one elsewhere.
local function queue(ask, reserved, now)
  local till = now / 1000 + ask.keep
  if ask.role == 'arbiter' then
    stand(ask.owner, ask.keep, redis.call('HGET', KEYS[2], ask.owner), now, ask.ttl, ask.who)
  elseif till > reserved then
    redis.call('HSET', KEYS[2], 'reserved', whole(till))
    remember(reserved * 1000, till * 1000, 0)
  end
end

local function vote(ask, now)
  local left, floor = quarantine(now)
  if left ~= 0 then return {QUARANTINED, now, left} end
  local holder = redis.call('GET', KEYS[1])
  local seen = redis.call('HMGET', KEYS[2], 'fence', 'ballot', 'reserved')
  local stored, reserved = tonumber(seen[1]) or 0, tonumber(seen[3]) or 0
  if is_of(holder, ask.owner) then
    local ballot = tonumber(ask.ballot)
    if ask.ballot ~= seen[2] then
      local above = math.max(stored, floor)
      if ballot <= above then return {STALE, now, above} end
      if ballot > now + CLAMP then return {AHEAD, now} end
      redis.call('HSET', KEYS[2], 'fence', ask.ballot, 'ballot', ask.ballot)
      remember(stored, ballot, tonumber(ask.ttl))
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
  if ask.keep > 0 then queue(ask, reserved, now) end
  local ahead = ahead_of(ask.owner, now)
  if not holder then return {RESERVED, now, ahead} end
  local ballot = tonumber(known(holder) and seen[2] or string.match(holder, '^shared:%-1 (%d+)$')) or 0
  return {BUSY, now, ballot, free_in(holder), ahead}
end

-- Tell one who waits that it is its turn; answers whether it is heard.
local function tell(owner, place)
  local channel = string.match(place, '^%d+ %d+ (%S+) ')
  local news = table.concat({'turn', owner, redis.call('ZCARD', KEYS[3]) - 1, KEYS[1]}, ' ')
  return redis.call('PUBLISH', channel, news) > 0
end

-- Call this with each who waits and would share the lock, from the first up to `owner`, or
-- to the first who would not share it. Answers whether there is one, or so many stand
-- there that it is not known.
local function each_sharer(now, owner, call)
  local at, several = 0, 8
  while looks > 0 do
    local owners = redis.call('ZRANGE', KEYS[3], at, at + several - 1)
    if #owners == 0 then return false end
    local places = redis.call('HMGET', KEYS[2], unpack(owners))
    for i = 1, #owners do
      if owners[i] == owner then return false end
      if is_alive(places[i], now) then
        if not string.find(places[i], '^%d+ 0 ') then return true end
        if call then call(owners[i], places[i]) end
      end
    end
    looks, at, several = looks - #owners, at + #owners, math.min(several * 4, 250)
  end
  return true
end

-- Whether one who would be alone stands before this one, who would share the lock.
local function is_behind_alone(owner, now)
  return each_sharer(now, owner)
end

-- Tell all who would share the lock, up to the first who would not, that they may.
local function wake_sharers(now)
  local deaf = {}
  each_sharer(now, nil, function(owner, place)
    if not tell(owner, place) then deaf[#deaf + 1] = owner end
  end)
  for i = 1, #deaf do leave(deaf[i]) end -- their processes are gone
end

-- Tell the first of the line, if the lock is free, that it is its turn; where it is shared,
-- those who would share it, too.
local function wake_next()
  if redis.call('EXISTS', KEYS[3]) == 0 then return end
  local holder, now = redis.call('GET', KEYS[1]), micros()
  if holder then
    if string.sub(holder, 1, 10) == 'shared:-1 ' then wake_sharers(now) end
    return
  end
  while true do
    local first, place = first_in_line(now)
    if not first or tell(first, place) then return end
    leave(first) -- nobody listens: its process is gone
    looks = looks - 10
  end
end
