-- Restart the ttl of many leases that share their locks on a node of a quorum, and take in
-- those that it does not have, each in its own turn only.
-- KEYS: lock, side, turn and ends of each, then epoch
-- ARGV: 1 ms to remember, then owner, channel and label, ttl in ms, ballot and fence of
--       each, then the identity
-- Reply: {a string as that of `keep.lua`, µs}

local answer

-- What to say to those that are not held here; '2' if they are taken in.
local function newcomers()
  local epoch = redis.call('HMGET', KEYS[#KEYS], 'identity', 'until')
  if epoch[1] ~= ARGV[#ARGV] then return '3' end
  return tonumber(epoch[2]) <= now and '2' or '0'
end

local function renew(key, owner, who, ttl, ballot, fence)
  local holder = redis.call('GET', key.lock)
  local turn = turn_in(holder)
  if turn and has_share(key, owner) then
    if turn == fence then
      take(key, owner, ballot, who, ttl)
      return '1'
    end
    -- What it shares here is no part of its lease.
    if not leave_turn(key, owner) then holder, turn = nil, nil end
  end
  if holder and turn ~= fence then return '0' end
  answer = answer or newcomers()
  local seen = redis.call('HMGET', key.side, 'fence', 'freed')
  local stored, freed = tonumber(seen[1]) or 0, tonumber(seen[2]) or 0
  local is_spent = tonumber(ballot) <= spent(key) or tonumber(fence) <= freed
  if answer ~= '2' then return answer end
  if is_spent or tonumber(ballot) > now + CLAMP then return '0' end
  if not turn then
    -- It may be older than a lease of one who was alone: nobody else is to be let into a
    -- turn from before that.
    local is_open = tonumber(fence) >= math.max(stored, now - OLDEST)
    begin(key, fence, stored, is_open and '1' or '0', ttl)
  end
  take(key, owner, ballot, who, ttl)
  return '2'
end

local kept = {}
for i = 0, (#KEYS - 1) / 4 - 1 do
  local lock, side, turn, ends = unpack(KEYS, 4 * i + 1, 4 * i + 4)
  local owner, who, ttl, ballot, fence = unpack(ARGV, 5 * i + 2, 5 * i + 6)
  local key = {lock = lock, side = side, turn = turn, ends = ends}
  -- pcall: a key that is no lock any more, or that there is no memory for, must not keep
  -- the others from it.
  local done, said = pcall(renew, key, owner, who, tonumber(ttl), ballot, fence)
  kept[i + 1] = done and said or '0'
end
return {table.concat(kept), now}
