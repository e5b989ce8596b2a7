-- Take the lock on this node of a quorum from who holds it by a ballot up to one, or from all
-- who share it in a turn up to that, and note that those leases are over, whether they were
-- here or not.
-- KEYS: 1 lock, 2 side, 3 line, 4 turn, 5 ends, 6 epoch
-- ARGV: 1 ms to remember, 2 the ballot or turn; 0 changes nothing, 3 identity
-- Reply: {1 if one of them held it, else 0, up to what leases are noted as over, the ballot or
--         turn by which it is held now, or 0}

local holder, up_to = redis.call('GET', KEYS[1]), tonumber(ARGV[2])
local owner, channel = known(holder)
local turn = string.match(holder or '', '^shared:%-1 (%d+)$')
local seen = redis.call('HMGET', KEYS[2], 'ballot', 'freed', 'fence')
local ballot = tonumber(turn or owner and seen[1] or nil)
local is_meant = ballot and ballot <= up_to
if holder and not ballot then
  -- That of another library has none, nor an order: a number of its own stands for it, which
  -- is smaller than all ballots.
  ballot = 1 + tonumber(string.sub(redis.sha1hex(holder), 1, 8), 16)
  is_meant = ballot == up_to
end
local over, freed = is_meant and ballot or 0, tonumber(seen[2]) or 0
-- One that is too far ahead was granted by nobody, and would keep all out.
if up_to <= micros() + CLAMP then over = math.max(over, up_to) end
if is_meant then redis.call('DEL', KEYS[1]) end
if over > freed then
  -- Neither a renewal nor a late vote brings it back.
  local stored = whole(math.max(over, tonumber(seen[3]) or 0))
  -- pcall: without memory for it, the lock is taken all the same.
  if type(redis.pcall('HSET', KEYS[2], 'freed', whole(over), 'fence', stored)) == 'number' then
    live(KEYS[2], REMEMBER + STEP)
    freed = over
  end
end
if not is_meant then return {0, freed, ballot or 0} end
if owner then redis.call('PUBLISH', channel, 'gone ' .. KEYS[1]) end
if turn then
  local shares, told = redis.call('HGETALL', KEYS[4]), {}
  local largest = redis.call('HGET', KEYS[4], 'returned') or '0'
  for i = 1, #shares, 2 do
    local ballot, channel = string.match(shares[i + 1], '^(%d+) %d+ (%S+) ')
    -- None of them comes back by what it has sent before.
    if ballot and tonumber(ballot) > tonumber(largest) then largest = ballot end
    if channel and not told[channel] then
      redis.call('PUBLISH', channel, 'gone ' .. KEYS[1])
      told[channel] = true
    end
  end
  redis.call('DEL', KEYS[4], KEYS[5])
  redis.call('HSET', KEYS[4], 'returned', largest)
  live(KEYS[2], REMEMBER + STEP)
  live(KEYS[4], REMEMBER + STEP)
end
wake_next()
return {1, freed, 0}
