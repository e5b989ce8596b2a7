-- Ask a node of a quorum for its vote on one who would share the lock.
-- KEYS: 1 lock, 2 side, 3 line, 4 turn, 5 ends, 6 epoch
-- ARGV: those of `vote_free.lua`, and before the identity 8 the only turn that it would
--       share, or ''
-- Reply: as there, but {1, µs, how many wait, turn} granted
--      | {6, µs, turn} others share another turn than the wanted

local OTHER, SHARERS = 6, 9000
local key = {lock = KEYS[1], side = KEYS[2], turn = KEYS[4], ends = KEYS[5]}
local owner, ballot, role, wanted = ARGV[2], tonumber(ARGV[5]), ARGV[7], ARGV[8]
local ttl, keep = tonumber(ARGV[4]), tonumber(ARGV[6])
local left, floor = quarantine(now)
if left ~= 0 then return {QUARANTINED, now, left} end

local holder = redis.call('GET', KEYS[1])
local turn = turn_in(holder)
local seen = redis.call('HMGET', KEYS[2], 'fence', 'ballot', 'reserved')
local stored, reserved = tonumber(seen[1]) or 0, tonumber(seen[3]) or 0

local function wait(word, whose)
  -- In the line it says by a ttl of 0 that it would share the lock: who does not know of
  -- that reads a place like any other.
  local ask = {owner = owner, who = ARGV[3], ttl = 0, keep = keep, role = role}
  if keep > 0 then queue(ask, reserved, now) end
  local is_behind = word == BUSY and holder and not turn or is_behind_alone(owner, now)
  local ahead = is_behind and ahead_of(owner, now) or 0
  if word == RESERVED then return {RESERVED, now, ahead} end
  return {BUSY, now, whose, free_in(holder), ahead}
end

if holder and not turn then return wait(BUSY, known(holder) and tonumber(seen[2]) or 0) end
if ballot > now + CLAMP then return {AHEAD, now} end
if turn and wanted ~= '' and wanted ~= turn then return {OTHER, now, tonumber(turn)} end
local joined = turn and has_share(key, owner)
local is_open = turn and redis.call('HGET', KEYS[4], 'open') == '1' and tonumber(turn) > floor
-- More than these the server would delete in one step when they expire.
local is_full = turn and not joined and redis.call('ZCOUNT', KEYS[5], '(' .. whole(ms), '+inf') >= SHARERS
if turn and not is_open or is_full then return wait(BUSY, tonumber(turn)) end
local has_line = redis.call('EXISTS', KEYS[3]) == 1
if not joined and not tonumber(role) then
  local is_reserved = role == 'newcomer' and reserved * 1000 > now
  if is_reserved or (has_line and is_behind_alone(owner, now)) then
    return wait((not turn or role == 'newcomer') and RESERVED or BUSY, tonumber(turn))
  end
end

local above = spent(key)
local begins = not turn
if begins then
  turn = wanted ~= '' and wanted or ARGV[5]
  local number, least = tonumber(turn), math.max(stored, floor, now - OLDEST)
  if ballot <= above or number <= least or number > ballot then
    return {STALE, now, math.max(above, least, number > ballot and number or 0)}
  end
  begin(key, turn, stored, '1', ttl)
elseif not joined and ballot <= above then
  return {STALE, now, above}
end
if has_line then leave(owner) end
take(key, owner, ARGV[5], ARGV[3], ttl)
-- Not the reverse: who came since they were counted would be forgotten.
if (tonumber(role) or 0) > 0 and keep > 0 then
  redis.call('HSET', KEYS[2], 'reserved', whole(now / 1000 + keep))
end
local waiting = has_line and redis.call('ZCARD', KEYS[3]) or 0
if begins and waiting > 0 then wake_sharers(now) end
return {GRANTED, now, waiting, tonumber(turn)}
