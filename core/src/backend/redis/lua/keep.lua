-- Restart the ttl of many leases on a node of a quorum, and take in those that
-- it does not have while nobody else holds the lock. A ballot below others that
-- were granted here is no obstacle, only having been released is.
-- KEYS: 1 epoch, then lock and side of each
-- ARGV: 1 identity, then owner, channel and label, ttl in ms and ballot of each
-- Reply: a string with a '1' for each that was held, '2' taken in, '0' neither,
--        '3' neither, and the identity is out of date

local answer, kept = nil, {}

-- What to say to those that are not held here; '2' if they are taken in.
local function newcomers()
  local time = redis.call('TIME')
  local epoch = redis.call('HMGET', KEYS[1], 'identity', 'until')
  if epoch[1] ~= ARGV[1] then return '3' end
  return tonumber(epoch[2]) <= time[1] * 1000000 + time[2] and '2' or '0'
end

for i = 1, (#KEYS - 1) / 2 do
  local lock, side = KEYS[2 * i], KEYS[2 * i + 1]
  local owner, who, ttl, ballot = unpack(ARGV, 4 * i - 2, 4 * i + 1)
  -- pcall: a key that is no lock any more must not keep the others from it.
  local holder = redis.pcall('GET', lock)
  kept[i] = '0'
  if holder == owner then
    redis.call('PEXPIRE', lock, ttl)
    local seen = redis.call('HMGET', side, 'fence', 'ballot')
    if ballot ~= seen[2] then -- it was granted by an earlier one of the attempt
      local fence = tonumber(ballot) > (tonumber(seen[1]) or 0) and ballot or seen[1]
      redis.call('HSET', side, 'fence', fence, 'ballot', ballot)
    end
    kept[i] = '1'
  elseif holder == false then
    answer = answer or newcomers()
    local seen = redis.call('HMGET', side, 'fence', 'freed')
    if answer ~= '2' then
      kept[i] = answer
    elseif tonumber(ballot) > (tonumber(seen[2]) or 0) then
      redis.call('SET', lock, owner, 'PX', ttl)
      local fence = tonumber(ballot) > (tonumber(seen[1]) or 0) and ballot or seen[1]
      redis.call('HSET', side, 'fence', fence, 'ballot', ballot, 'holder', owner .. ' ' .. who)
      redis.call('PEXPIRE', side, 90000000)
      kept[i] = '2'
    end
  end
end
return table.concat(kept)
