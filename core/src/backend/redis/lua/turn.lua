-- Stands before the scripts for those who share a lock on a node of a quorum. The rules
-- are those of `tests/model/src/turn.rs`.
-- The lock: 'shared:-1 TURN', which is no owner's, until the last of the shares ends.
-- The ends: owners by when their share ends, in ms. In the turn hash: owner = 'BALLOT SINCE
-- channel label', with the largest ballot that the share came with, and SINCE in µs; 'open',
-- 1 if votes may join; 'returned', the largest ballot that anybody who shared gave back.
-- Where the lock does not say that it is shared, the shares are of a turn that is over.

local REMEMBER = tonumber(ARGV[1])
local STEP = REMEMBER / 24
local OLDEST = REMEMBER / 2 * 1000 -- µs: a ballot that is older is stale
local CLAMP = 1000000 -- µs that a ballot may be ahead of our clock
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local ms = math.floor(now / 1000)

-- The turn of those who share a lock with this holder.
local function turn_in(holder)
  return string.match(holder or '', '^shared:%-1 (%d+)$')
end

local function lives(key, span)
  if redis.call('PTTL', key) < span then
    redis.call('PEXPIRE', key, string.format('%.0f', span))
  end
end

local function has_share(key, owner)
  return tonumber(redis.call('ZSCORE', key.ends, owner) or 0) > ms
end

-- No share is begun by this ballot or a smaller one.
local function spent(key)
  return math.max(tonumber(redis.call('HGET', key.turn, 'returned') or 0), now - OLDEST)
end

-- The lock ends with the last share. Answers whether there is one.
local function settle(key)
  local last = redis.call('ZREVRANGE', key.ends, 0, 0, 'WITHSCORES')[2]
  if last and tonumber(last) > ms then
    redis.call('PEXPIREAT', key.lock, last)
    return true
  end
  redis.call('DEL', key.lock)
  return false
end

-- With none of the old shares.
local function begin(key, number, stored, open, ttl)
  -- First of all: a script that has begun to write is given memory to go on.
  redis.call('HSET', key.side, 'fence', tonumber(number) > stored and number or string.format('%.0f', stored))
  local returned = redis.call('HGET', key.turn, 'returned') or '0'
  redis.call('DEL', key.turn, key.ends)
  redis.call('HSET', key.turn, 'open', open, 'returned', returned)
  redis.call('SET', key.lock, 'shared:-1 ' .. number, 'PX', ttl)
end

-- Forget some of those whose time is over.
local function sweep_shares(key)
  local over = redis.call('ZRANGEBYSCORE', key.ends, '-inf', ms, 'LIMIT', 0, 250)
  if #over == 0 then return end
  redis.call('ZREM', key.ends, unpack(over))
  redis.call('HDEL', key.turn, unpack(over))
end

-- The owner has a share for `ttl` ms from now on.
local function take(key, owner, ballot, who, ttl)
  local share = redis.call('HGET', key.turn, owner)
  local largest, since, known = string.match(share or '', '^(%d+) (%d+) (.*)$')
  if not has_share(key, owner) then
    largest, since, known = nil, nil, nil
  elseif tonumber(largest) > tonumber(ballot) then
    ballot = largest
  end
  sweep_shares(key)
  -- One without a label is not known any more.
  if known and not string.find(who, ' .') then who = known end
  -- First: a script that has begun to write is given memory to go on.
  local span = REMEMBER + math.max(STEP, ttl)
  redis.call('PEXPIRE', key.turn, string.format('%.0f', span))
  redis.call('HSET', key.turn, owner, table.concat({ballot, since or string.format('%.0f', now), who}, ' '))
  redis.call('ZADD', key.ends, string.format('%.0f', ms + ttl), owner)
  settle(key)
  lives(key.side, span)
  lives(key.turn, span)
  lives(key.ends, span)
end

-- End the share of this owner; answers whether anybody else shares.
local function leave_turn(key, owner)
  redis.call('ZREM', key.ends, owner)
  redis.call('HDEL', key.turn, owner)
  return settle(key)
end
