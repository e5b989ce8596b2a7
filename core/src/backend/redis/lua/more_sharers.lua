-- Who shares a lock, after some that are known.
-- KEYS: 1 lock, 2 side, 3 line, 4 fence, 5 turn, 6 ends
-- ARGV: 1 the place to go on from; see `sharers.lua`
-- Reply: {the server's clock in µs, {each of them}, the place to go on from if there may be
--         more}

local holder = redis.pcall('GET', KEYS[1])
local told, more = {}, false
-- It may be shared no more, and its line be of others.
if type(holder) == 'string' and string.sub(holder, 1, 7) == 'shared:' then
  told, more = sharers(holder, KEYS[3], KEYS[2], KEYS[5], KEYS[6], ARGV[1], 1000)
end
return {table.concat(redis.call('TIME'), ' '), told, more}
