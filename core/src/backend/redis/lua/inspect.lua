-- Who holds which locks, and who waits for them.
-- KEYS: lock, side, line, fence, and of a node of a quorum turn and ends, of each
-- Reply: {the server's clock in µs, and of each lock that is held or waited for:
--         {its number, holder, ms until the lease ends, fence, ballot,
--          {who waits: each one's place}, the last one's score if there are more,
--          {who shares it: each one's end in ms, what is held, and owner}, where to go on
--          if there may be more of those}}
-- Of all who share and all who wait so many are told that it is a short step.

local reply, left, room = {table.concat(redis.call('TIME'), ' ')}, 500, 1000
for i = 0, #KEYS / 6 - 1 do
  local lock, side, line, fence, turn, ends = unpack(KEYS, 6 * i + 1, 6 * i + 6)
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
    local shared, more = {}, false
    if string.sub(holder or '', 1, 7) == 'shared:' then
      shared, more = sharers(holder, line, side, turn, ends, '', room)
      room = room - #shared
    end
    reply[#reply + 1] = {i, holder, redis.call('PTTL', lock), fence, seen[2], places, last, shared, more}
  end
end
return reply
