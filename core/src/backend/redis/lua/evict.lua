-- Take the lock from whoever holds it, and hand it on.
-- KEYS: 1 lock, 2 side, 3 line, 4 fence, (5 epoch)
-- ARGV: 1 ms to remember, (2 identity)
-- Reply: 1 if somebody held it, else 0

local holder = redis.call('GET', KEYS[1])
if not holder then return 0 end
local _, channel = known(holder)
local share = sharing(micros(), holder)
if share.mode then share.evict() end
if channel then redis.call('PUBLISH', channel, 'gone ' .. KEYS[1]) end
free_and_hand_on()
return 1
