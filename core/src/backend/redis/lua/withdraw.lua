-- Make a claim as if it had never been sent.
-- KEYS: 1 lock, 2 side, 3 line, 4 fence, (5 epoch)
-- ARGV: 1 ms to remember, 2 owner, 3 ms to refuse this owner's claims because one
--       may come late over an older connection (0: none can), (4 identity)

local owner, refuse = ARGV[2], tonumber(ARGV[3])
leave(owner)
if refuse > 0 then
  local now = micros()
  sweep(now)
  redis.call('HSET', KEYS[2], owner, 'gone ' .. whole(now / 1000 + refuse))
  live(KEYS[2], refuse + STEP)
end
local holder = redis.call('GET', KEYS[1])
local now = micros()
local share = sharing(now, holder)
if share.mode then
  share.settle()
  pcall(hand_on, now, nil, nil, nil, share)
elseif is_of(holder, owner) or (not holder and redis.call('EXISTS', KEYS[3]) == 1) then
  free_and_hand_on()
end
return 1
