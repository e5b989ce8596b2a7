-- Who holds which locks, and who waits for them.
-- KEYS: lock, side, line and fence of each
-- Reply: {the server's clock in µs, and of each lock that is held or waited for:
--         {its number, holder, ms until the lease ends, fence, ballot,
--          {who waits: each one's place}, the last one's score if there are more,
--          {who shares it: each one's end in ms and what is held}}}
-- Of those who share a lock a thousand are told.

local BELOW, WAITING = -1e15, '-100000000000000' -- as in `line.lua`
local reply, left = {table.concat(redis.call('TIME'), ' ')}, 500
for i = 0, #KEYS / 4 - 1 do
  local lock, side, line, fence = unpack(KEYS, 4 * i + 1, 4 * i + 4)
  if redis.call('EXISTS', lock, line) > 0 then
    local seen, places = redis.call('HMGET', side, 'fence', 'ballot'), {}
    -- pcall: it may be something that is no lock.
    local holder = redis.pcall('GET', lock)
    if type(holder) == 'table' then holder = '' end
    local owner = string.match(holder or '', '^%x+')
    local last = redis.call('EXISTS', line) == 1 and WAITING or false
    if last and left > 0 then
      local waiting = redis.call('ZRANGEBYSCORE', line, WAITING, '+inf', 'WITHSCORES', 'LIMIT', 0, left)
      last = #waiting / 2 == left and waiting[#waiting]
      left = left - #waiting / 2
      for at = 1, #waiting, 2 do
        -- A node of a quorum may have heard by a renewal who holds the lock; its place lapses.
        local place = waiting[at] ~= owner and redis.call('HGET', side, waiting[at])
        places[#places + 1] = place or nil
      end
    end
    -- A node of a quorum has it in the side hash.
    fence = seen[1] or redis.pcall('GET', fence)
    local shared = {}
    if string.sub(holder or '', 1, 7) == 'shared:' then
      local sharers = redis.call('ZRANGEBYSCORE', line, '-inf', WAITING, 'WITHSCORES', 'LIMIT', 0, 1000)
      for at = 1, #sharers, 2 do
        shared[at] = string.format('%.0f', sharers[at + 1] - BELOW)
        shared[at + 1] = redis.call('HGET', side, sharers[at]) or ''
      end
    end
    reply[#reply + 1] = {i, holder, redis.call('PTTL', lock), fence, seen[2], places, last, shared}
  end
end
return reply
