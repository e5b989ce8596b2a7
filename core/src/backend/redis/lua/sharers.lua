-- Stands before the scripts that tell who shares a lock.

local BELOW, WAITING = -1e15, '-100000000000000' -- as in `line.lua`

-- Those who share this lock now, by when they end, `most` of them: from the place `at` on,
-- 'END KNOWN', an end in ms and how many with that end are known, or '' from the first. Who
-- renews meanwhile stands later then, and is told again.
-- Answers {end in ms, what is held, owner} of each, and the place to go on from if there
-- may be more.
local function sharers(holder, line, side, turn, ends, at, most)
  local time, told = redis.call('TIME'), {}
  local ms = time[1] * 1000 + math.floor(time[2] / 1000)
  local first, known = string.match(at, '^(%d+) (%d+)$')
  first, known = tonumber(first or ms + 1), tonumber(known or 0)
  if most == 0 then return told, string.format('%.0f %d', first, known) end
  -- A node of a quorum has them apart from those who wait.
  local is_node = redis.call('EXISTS', ends) == 1
  local below, key, up_to = BELOW, line, WAITING
  if is_node then below, key, up_to = 0, ends, '+inf' end
  local from = string.format('%.0f', below + first)
  local found = redis.call('ZRANGEBYSCORE', key, from, up_to, 'WITHSCORES', 'LIMIT', known, most)
  for i = 1, #found, 2 do
    local owner, last = found[i], found[i + 1] - below
    local held
    if is_node then
      local share = redis.call('HGET', turn, owner) or ''
      local number = string.match(holder, ' (%d+)$') or '0'
      held = table.concat({'held 0', number, string.match(share, '^%d+ (.*)$') or ''}, ' ')
    else
      held = redis.call('HGET', side, owner) or ''
    end
    told[#told + 1] = {string.format('%.0f', last), held, owner}
    if last > first then first, known = last, 0 end
    known = known + 1
  end
  return told, #told == most and string.format('%.0f %d', first, known)
end

