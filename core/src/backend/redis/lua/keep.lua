-- Restart the ttl of many leases on a node of a quorum, show their labels, and take
-- in those that it does not have while nobody else holds the lock. A ballot below others that
-- were granted here is no obstacle, only having been released is.
-- KEYS: lock and side of each, then epoch
-- ARGV: 1 ms to remember, then owner, channel and label, ttl in ms and ballot of
--       each, then the identity
-- Reply: a string with a '1' for each that was held, '2' taken in, '0' neither,
--        '3' neither, and the identity is out of date

local REMEMBER = tonumber(ARGV[1])
local STEP = REMEMBER / 24
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answer, kept = nil, {}

-- What to say to those that are not held here; '2' if they are taken in.
local function newcomers()
  local epoch = redis.call('HMGET', KEYS[#KEYS], 'identity', 'until')
  if epoch[1] ~= ARGV[#ARGV] then return '3' end
  return tonumber(epoch[2]) <= time[1] * 1000000 + time[2] and '2' or '0'
end

-- The side hash lives as long as a name is remembered after this.
local function live(side, ttl)
  redis.call('PEXPIRE', side, string.format('%.0f', REMEMBER + math.max(STEP, ttl)))
end

for i = 1, (#KEYS - 1) / 2 do
  local lock, side = KEYS[2 * i - 1], KEYS[2 * i]
  local owner, who, ttl, ballot = unpack(ARGV, 4 * i - 2, 4 * i + 1)
  -- pcall: a key that is no lock any more must not keep the others from it.
  local holder = redis.pcall('GET', lock)
  kept[i] = '0'
  if type(holder) == 'string' and string.sub(holder, 1, #owner + 1) == owner .. ' ' then
    redis.call('PEXPIRE', lock, ttl)
    -- Another label since, which this node has not heard of. One without is not known.
    local value = owner .. ' ' .. who
    if holder ~= value and string.find(who, ' .') then redis.pcall('SET', lock, value, 'KEEPTTL') end
    local seen = redis.call('HMGET', side, 'fence', 'ballot')
    local is_other = ballot ~= seen[2] -- it was granted by an earlier one of the attempt
    if is_other then
      local fence = tonumber(ballot) > (tonumber(seen[1]) or 0) and ballot or seen[1]
      redis.call('HSET', side, 'fence', fence, 'ballot', ballot)
    end
    -- Once an hour, each at its own minute: a lease is renewed within its ttl.
    local minute = tonumber(string.sub(owner, 1, 7), 16) or 0
    if is_other or (now + minute) % STEP < tonumber(ttl) then live(side, tonumber(ttl)) end
    kept[i] = '1'
  elseif holder == false then
    answer = answer or newcomers()
    local seen = redis.call('HMGET', side, 'fence', 'freed')
    if answer ~= '2' then
      kept[i] = answer
    -- pcall: without memory for this one, the others are renewed all the same.
    elseif tonumber(ballot) > (tonumber(seen[2]) or 0)
        and redis.pcall('SET', lock, owner .. ' ' .. who, 'PX', ttl).ok then
      local fence = tonumber(ballot) > (tonumber(seen[1]) or 0) and ballot or seen[1]
      redis.call('HSET', side, 'fence', fence, 'ballot', ballot)
      live(side, tonumber(ttl))
      kept[i] = '2'
    end
  end
end
return table.concat(kept)
