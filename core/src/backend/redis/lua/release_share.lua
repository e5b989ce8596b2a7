-- Give back a lock that is shared, and hand it on.
-- KEYS: 1 lock, 2 side, 3 line, 4 fence, (5 epoch)
-- ARGV: 1 ms to remember, 2 owner, (3 identity)
-- Reply: {1 if it was held, how many wait in the line, 0}

local owner, now = ARGV[2], micros()
local share = sharing(now, redis.call('GET', KEYS[1]))
if not share.has(owner) then return {0, 0, 0} end
leave(owner)
share.settle()
pcall(hand_on, now, nil, nil, nil, share)
return {1, redis.call('ZCOUNT', KEYS[3], WAITING, '+inf'), 0}
