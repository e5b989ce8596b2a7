-- Ask a node of a quorum for its vote. The usual case stands here, before any
-- function is made; `vote.lua` goes on where somebody holds the lock, or waits for
-- it, or there is anything that speaks against the ballot.
-- KEYS: 1 lock, 2 side, 3 line, 4 epoch
-- ARGV: 1 ms to remember, 2 owner, 3 channel and label, 4 ttl in ms, 5 ballot, 6 ms
--       to keep a place in the line (0: take none), 7 'arbiter' if the line is
--       kept here, 'newcomer', or how many wait behind the first of the line,
--       8 identity
-- Reply: {0, µs, ballot of the holder (0: none), ms until its lease ends
--         (negative: unknown), how many are ahead}
--      | {1, µs, how many wait} granted | {2, µs, how many are ahead} reserved
--      | {3, µs, ms of quarantine left (negative: the identity is out of date)}
--      | {4, µs, what the ballot must exceed} | {5, µs} the ballot is too large

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if redis.call('EXISTS', KEYS[1], KEYS[3]) == 0 and not tonumber(ARGV[7]) then
  local epoch = redis.call('HMGET', KEYS[4], 'identity', 'until')
  local seen = redis.call('HMGET', KEYS[2], 'fence', 'reserved')
  local ballot, stored, step = tonumber(ARGV[5]), tonumber(seen[1]) or 0, ARGV[1] / 24
  local hour = math.floor(ballot / 1000 / step)
  if epoch[1] == ARGV[#ARGV] and tonumber(epoch[2]) <= now and ballot > tonumber(epoch[2])
      and ballot > stored and ballot <= now + 1000000
      -- In the same hour as the stored ballot, whose record then lives long enough, and not
      -- in one long past.
      and hour == math.floor(stored / 1000 / step) and hour >= math.floor(now / 1000 / step) - 1
      and tonumber(ARGV[4]) <= step
      and (ARGV[7] == 'arbiter' or (tonumber(seen[2]) or 0) * 1000 <= now) then
    redis.call('SET', KEYS[1], ARGV[2] .. ' ' .. ARGV[3], 'PX', ARGV[4])
    redis.call('HSET', KEYS[2], 'fence', ARGV[5], 'ballot', ARGV[5])
    return {1, now, 0}
  end
end
