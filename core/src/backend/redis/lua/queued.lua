-- Who waits for a lock, after some that are known.
-- KEYS: 1 lock, 2 side, 3 line
-- ARGV: 1 the score of the last that is known
-- Reply: {the server's clock in µs, {each one's place}, the last one's score if
--         there are more}

local waiting = redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, 500)
local places = {}
for at = 1, #waiting, 2 do
  places[#places + 1] = redis.call('HGET', KEYS[2], waiting[at]) or nil
end
return {table.concat(redis.call('TIME'), ' '), places, #waiting == 1000 and waiting[#waiting]}
