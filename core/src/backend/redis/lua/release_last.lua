-- Give the lock back, and hand it on. The usual case stands here, before any
-- function is made; `release.lua` goes on where somebody waits.
-- KEYS: 1 lock, 2 side, 3 line, 4 fence, (5 epoch)
-- ARGV: 1 ms to remember, 2 owner, 3 next owner or '', 4 its channel and label,
--       5 its ttl in ms (and ':-1' if it shares the lock), 6 ms that its fence is remembered, (7 identity)
-- Reply: {1 if it was held, how many wait in the line, fence of the next owner
--         or 0}

local holder = redis.call('GET', KEYS[1])
if not holder or string.sub(holder, 1, #ARGV[2] + 1) ~= ARGV[2] .. ' ' then return {0, 0, 0} end
if ARGV[3] == '' and redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('DEL', KEYS[1])
  return {1, 0, 0}
end
