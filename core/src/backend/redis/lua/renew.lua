-- Restart the ttl of many leases.
-- KEYS: the locks
-- ARGV: the owner and the ttl in ms of each
-- Reply: a string with a '1' for each that was held, else '0'

local kept = {}
for i, lock in ipairs(KEYS) do
  kept[i] = '0'
  -- pcall: a key that is no lock any more must not keep the others from it.
  if redis.pcall('GET', lock) == ARGV[2 * i - 1] then
    redis.call('PEXPIRE', lock, ARGV[2 * i])
    kept[i] = '1'
  end
end
return table.concat(kept)
