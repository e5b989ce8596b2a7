-- What `vote_free.lua` has begun, where it is not the usual case.

return vote({
  owner = ARGV[2], who = ARGV[3], ttl = ARGV[4], ballot = ARGV[5],
  keep = tonumber(ARGV[6]), role = ARGV[7],
}, now)
