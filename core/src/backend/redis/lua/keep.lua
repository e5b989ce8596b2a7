-- Restart the ttl of many leases on a node of a quorum, and take in those that
-- it does not have while nobody else holds the lock. A ballot below others that
-- were granted here is no obstacle, only having been released is.
-- KEYS: 1 epoch, then lock and side of each
-- ARGV: 1 identity, then owner, channel and label, ttl in ms and ballot of each
-- Reply: a string with a '1' for each that was held, '2' taken in, else '0'

local now, open, kept = nil, nil, {}

local function is_open()
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
  local epoch = redis.call('HMGET', KEYS[1], 'identity', 'until')
  return epoch[1] == ARGV[1] and tonumber(epoch[2]) <= now
end

for i = 1, (#KEYS - 1) / 2 do
  local lock, side = KEYS[2 * i], KEYS[2 * i + 1]
  local owner, who, ttl, ballot = unpack(ARGV, 4 * i - 2, 4 * i + 1)
  -- pcall: a key that is no lock any more must not keep the others from it.
  local holder = redis.pcall('GET', lock)
  kept[i] = '0'
  if holder == owner then
    redis.call('PEXPIRE', lock, ttl)
    kept[i] = '1'
  elseif holder == false then
    if open == nil then open = is_open() end
    local seen = redis.call('HMGET', side, 'fence', 'freed')
    if open and tonumber(ballot) > (tonumber(seen[2]) or 0) then
      redis.call('SET', lock, owner, 'PX', ttl)
      local fence = tonumber(ballot) > (tonumber(seen[1]) or 0) and ballot or seen[1]
      redis.call('HSET', side, 'fence', fence, 'ballot', ballot, 'holder', owner .. ' ' .. who)
      redis.call('PEXPIRE', side, 90000000)
      kept[i] = '2'
    end
  end
end
return table.concat(kept)
