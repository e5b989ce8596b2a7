-- Learn which server this is; if it is not the one that the record names, it
-- may have lost data: nothing is granted for a while.
-- KEYS: 1 epoch
-- ARGV: 1 ms of quarantine, 2 what all clients must agree on, 3 the number of
--       the record when we last looked, 4 without a record: 'quarantine', 'look'
--       (do nothing yet), or 'found' (the server is new), 5 which node of a
--       quorum we take it for, or '', 6 the run ids of our other nodes
-- Reply: {'known', identity, number, µs} | {'missing', identity, 0, µs}
--      | {'other', what the others agree on} | {'node', which it is}
--      | {'twin', its run id, which is one of our other nodes'}

local DAY = 86400000
local server, replication = redis.call('INFO', 'server'), redis.call('INFO', 'replication')
local run_id = string.match(server, 'run_id:(%x+)')
local identity = run_id .. string.match(replication, 'master_replid:(%x+)')
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local record = redis.call('HMGET', KEYS[1], 'identity', 'agreed', 'number', 'node')
local number = tonumber(record[3]) or 0
if record[2] and record[2] ~= ARGV[2] then return {'other', record[2]} end
-- Before anything is written: another node's record is not ours to change.
if record[4] and record[4] ~= ARGV[5] then return {'node', record[4]} end
if string.find(ARGV[6], run_id, 1, true) then return {'twin', run_id} end
if not record[1] and ARGV[4] == 'look' then return {'missing', identity, 0, now} end
-- A smaller number: this server was replaced by another one for a while.
if record[1] ~= identity or number < tonumber(ARGV[3]) then
  number = math.max(number, tonumber(ARGV[3])) + 1
  local is_new = not record[1] and ARGV[4] == 'found'
  local ends = is_new and 0 or now + ARGV[1] * 1000
  redis.call('HSET', KEYS[1], 'identity', identity, 'agreed', ARGV[2], 'number', number,
    'until', string.format('%.0f', ends))
end
-- Records of older versions do not say it: whoever connects first does.
if not record[4] and ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'node', ARGV[5]) end
redis.call('PEXPIRE', KEYS[1], 400 * DAY)
return {'known', identity, number, now}
