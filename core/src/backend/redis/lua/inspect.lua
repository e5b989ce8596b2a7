-- Who holds a lock and who waits.
-- KEYS: 1 lock, 2 side, 3 line
-- Reply: {holder or nil, ms until its lease ends, fence or nil, what the last
--         grant left, its ballot or nil, the server's clock in µs, each waiter's
--         place}

local reply = {
  redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1]),
  redis.call('HGET', KEYS[2], 'fence'), redis.call('HGET', KEYS[2], 'holder'),
  redis.call('HGET', KEYS[2], 'ballot'),
  table.concat(redis.call('TIME'), ' '),
}
for _, owner in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  reply[#reply + 1] = redis.call('HGET', KEYS[2], owner)
end
return reply
