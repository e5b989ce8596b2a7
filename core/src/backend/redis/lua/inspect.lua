-- Who holds which locks, and who waits for them.
-- KEYS: lock, side and line of each
-- Reply: {the server's clock in µs, and of each lock that is held or waited for:
--         {its number, holder, ms until the lease ends, fence, ballot,
--          {who waits: each one's place}, the last one's score if there are more}}

local reply, left = {table.concat(redis.call('TIME'), ' ')}, 500
for i = 0, #KEYS / 3 - 1 do
  local lock, side, line = KEYS[3 * i + 1], KEYS[3 * i + 2], KEYS[3 * i + 3]
  if redis.call('EXISTS', lock, line) > 0 then
    local seen, places = redis.call('HMGET', side, 'fence', 'ballot'), {}
    local last = redis.call('EXISTS', line) == 1 and '-inf' or false
    if last and left > 0 then
      local waiting = redis.call('ZRANGEBYSCORE', line, '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, left)
      last = #waiting / 2 == left and waiting[#waiting]
      left = left - #waiting / 2
      for at = 1, #waiting, 2 do
        places[#places + 1] = redis.call('HGET', side, waiting[at]) or nil
      end
    end
    -- pcall: it may be something that is no lock.
    local holder = redis.pcall('GET', lock)
    if type(holder) == 'table' then holder = '' end
    reply[#reply + 1] = {i, holder, redis.call('PTTL', lock), seen[1], seen[2], places, last}
  end
end
return reply
