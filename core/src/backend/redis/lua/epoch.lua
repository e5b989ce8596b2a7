-- Learn which server this is; if it is not the one that the record names, it
-- may have lost data: nothing is granted for a while.
-- KEYS: 1 epoch
-- ARGV: 1 ms of quarantine
-- Reply: the identity

local DAY = 86400000
local server, replication = redis.call('INFO', 'server'), redis.call('INFO', 'replication')
local identity = string.match(server, 'run_id:(%x+)') .. string.match(replication, 'master_replid:(%x+)')
if redis.call('HGET', KEYS[1], 'identity') ~= identity then
  local time = redis.call('TIME')
  local now = time[1] * 1000000 + time[2]
  redis.call('HSET', KEYS[1], 'identity', identity, 'until', string.format('%.0f', now + ARGV[1] * 1000))
end
redis.call('PEXPIRE', KEYS[1], 400 * DAY)
return identity
