-- Stands, after `line.lua`, before every script that can make somebody a holder.
-- Of a lock that is shared, the key says 'shared:MODE FENCE', which is no owner's, so
-- that those of the published algorithm stay out, and lives until the last of those
-- who share it ends. MODE is -1 where any number may, else how many permits there are.
-- They stand in the line's key, below all who wait, by when they end. In the side
-- hash: owner = 'held SLOT FENCE SINCE channel label', SINCE in µs. Where the lock's
-- key does not say that it is shared, they are of a turn that is over.

-- So many share it at most: the other places in the line are for those who wait.
local SHARERS = PLACES - 1000

-- A lock that may be shared, as it is `now`; `holder`: what its key says, or nothing if
-- it is to be taken for free. In one function, as each costs as much as a command.
local function sharing(now, holder)
  local share, ms = {holder = holder}, math.floor(now / 1000)
  local alive = '(' .. whole(BELOW + ms)
  share.mode, share.fence = string.match(holder or '', '^shared:(%-?%d+) (%d+)$')

  -- Whether one more may hold it in this way, who waits aside; '' is alone.
  function share.has_room(mode)
    if not share.holder then return true end
    if share.mode ~= mode then return false end
    local most = mode == '-1' and SHARERS or tonumber(mode)
    return redis.call('ZCOUNT', KEYS[3], alive, WAITING) < most
  end

  -- Whether it shares the lock, and not only did.
  function share.has(owner)
    local at = share.mode and tonumber(redis.call('ZSCORE', KEYS[3], owner) or 0)
    return at and at < tonumber(WAITING) and at > BELOW + ms
  end

  local function free_slot()
    local owners, taken, slot = redis.call('ZRANGEBYSCORE', KEYS[3], alive, WAITING), {}, 0
    local held = #owners > 0 and redis.call('HMGET', KEYS[2], unpack(owners)) or {}
    for i = 1, #held do taken[tonumber(string.match(held[i] or '', '^held (%d+) '))  or -1] = true end
    while taken[slot] do slot = slot + 1 end
    return slot
  end

  -- Forget those who have shared it.
  local function clear()
    local till = share.mode and whole(BELOW + ms) or WAITING
    local over = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', till, 'LIMIT', 0, 250)
    if #over == 0 then return end
    redis.call('ZREM', KEYS[3], unpack(over))
    redis.call('HDEL', KEYS[2], unpack(over))
    -- Of a turn that is over nobody is left, however many they were.
    if not share.mode then redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', till) end
  end

  -- Its lease lasts for another `ttl` ms.
  function share.extend(owner, ttl)
    live(KEYS[1], ttl)
    redis.call('ZADD', KEYS[3], whole(BELOW + ms + ttl), owner)
    live(KEYS[2], REMEMBER + math.max(STEP, ttl))
    live(KEYS[3], math.max(REMEMBER, ttl))
  end

  -- Make it one of the holders; answers its fence and slot. The fence is that of the
  -- turn, or where they count one of its own.
  function share.join(owner, who, mode, ttl, lives)
    local joins = share.mode
    if not joins then clear() end
    local fence, slot = share.fence, mode == '-1' and 0 or free_slot()
    if not joins or mode ~= '-1' then
      fence = whole(math.max((tonumber(redis.call('GET', KEYS[4])) or 0) + 1, now))
      redis.call('SET', KEYS[4], fence, 'PX', lives)
    end
    if not joins then
      share.holder, share.mode, share.fence = 'shared:' .. mode .. ' ' .. fence, mode, fence
      redis.call('SET', KEYS[1], share.holder, 'PX', whole(ttl))
    end
    -- Before anything that needs no memory: without, nobody joins.
    redis.call('HSET', KEYS[2], owner, table.concat({'held', slot, fence, whole(now), who}, ' '))
    if joins then
      clear()
      live(KEYS[4], tonumber(lives))
    end
    share.extend(owner, ttl)
    return tonumber(fence), slot
  end

  -- Somebody has left: the lock ends with the last of the others, or is free.
  function share.settle()
    local last = redis.call('ZREVRANGEBYSCORE', KEYS[3], WAITING, alive, 'WITHSCORES', 'LIMIT', 0, 1)
    if last[2] then
      redis.call('PEXPIRE', KEYS[1], whole(last[2] - BELOW - ms))
    else
      redis.call('DEL', KEYS[1])
      share.holder, share.mode, share.fence = nil, nil, nil
    end
  end

  -- Take it from all, and tell them.
  function share.evict()
    local told, more = {}, true
    while more do
      local owners = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', WAITING, 'LIMIT', 0, 250)
      more = #owners > 0
      local held = more and redis.call('HMGET', KEYS[2], unpack(owners)) or {}
      for i = 1, #held do
        local channel = string.match(held[i] or '', '^held %d+ %d+ %d+ (leasehold:%x+) ')
        if channel and not told[channel] then
          redis.call('PUBLISH', channel, 'gone ' .. KEYS[1])
          told[channel] = true
        end
      end
      if more then
        redis.call('ZREM', KEYS[3], unpack(owners))
        redis.call('HDEL', KEYS[2], unpack(owners))
      end
    end
  end

  return share
end
