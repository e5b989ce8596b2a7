-- Show another label of the holder.
-- KEYS: 1 lock
-- ARGV: 1 owner, 2 channel and label
-- Reply: 1 if it holds the lock, else 0

local before = ARGV[1] .. ' '
if redis.call('GETRANGE', KEYS[1], 0, #before - 1) ~= before then return 0 end
redis.call('SET', KEYS[1], before .. ARGV[2], 'KEEPTTL')
return 1
