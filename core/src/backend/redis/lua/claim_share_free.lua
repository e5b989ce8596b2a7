-- Ask once for a lock that is to be shared. Two usual cases stand here, before any
-- function is made: nobody uses it, or others share it without a number and nobody
-- waits. `claim_share.lua` goes on in all others.
-- KEYS, ARGV and reply are those of `claim_free.lua`, and before the identity how it is
-- to be shared: -1, or among how many. After the fence comes the slot. What is answered
-- after 4 may be 0, alone. What is stored is told in `share.lua`.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local epoch = KEYS[5] and redis.call('HMGET', KEYS[5], 'identity', 'until')
local is_open = not epoch or (epoch[1] == ARGV[#ARGV] and tonumber(epoch[2]) <= now)
-- Whoever shares it, waits or has retired is in the side hash.
if is_open and redis.call('EXISTS', KEYS[2]) == 0 then
  local fence = math.max((tonumber(redis.call('GET', KEYS[4])) or 0) + 1, now)
  local text, ttl = string.format('%.0f', fence), tonumber(ARGV[4])
  if redis.call('SET', KEYS[1], 'shared:' .. ARGV[7] .. ' ' .. text, 'NX', 'PX', ARGV[4]) then
    redis.call('SET', KEYS[4], text, 'PX', ARGV[6])
    local held = string.format('held 0 %s %.0f %s', text, now, ARGV[3])
    redis.call('HSET', KEYS[2], ARGV[2], held)
    redis.call('PEXPIRE', KEYS[2], ARGV[6])
    local ends = math.floor(now / 1000) + ttl
    redis.call('ZADD', KEYS[3], string.format('%.0f', -1e15 + ends), ARGV[2])
    redis.call('PEXPIRE', KEYS[3], string.format('%.0f', math.max(tonumber(ARGV[1]), ttl)))
    return {1, fence, 0}
  end
end

local turn = is_open and ARGV[7] == '-1'
  and string.match(redis.call('GET', KEYS[1]) or '', '^shared:%-1 (%d+)$')
if turn and redis.call('HEXISTS', KEYS[2], ARGV[2]) == 0 then
  -- Those whose time is over, who are to be forgotten, stand first; those who wait last. As many
  -- share it at most as in `share.lua`.
  local first = tonumber(redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2])
  local last = tonumber(redis.call('ZREVRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2])
  local ms, ttl, kept = math.floor(now / 1000), tonumber(ARGV[4]), tonumber(ARGV[1])
  if first and first > -1e15 + ms and last < -1e14 and redis.call('ZCARD', KEYS[3]) < 9000 then
    -- First of all: without memory for it, nobody joins.
    redis.call('HSET', KEYS[2], ARGV[2], string.format('held 0 %s %.0f %s', turn, now, ARGV[3]))
    redis.call('ZADD', KEYS[3], string.format('%.0f', -1e15 + ms + ttl), ARGV[2])
    if last < -1e15 + ms + ttl then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
    local spans = {[2] = kept + math.max(kept / 24, ttl), [3] = math.max(kept, ttl), [4] = tonumber(ARGV[6])}
    for key, span in pairs(spans) do
      if redis.call('PTTL', KEYS[key]) < span then
        redis.call('PEXPIRE', KEYS[key], string.format('%.0f', span))
      end
    end
    return {1, tonumber(turn), 0}
  end
end
