-- Ask a node of a quorum for its vote.
-- ARGV: 1 owner, 2 channel and label, 3 ttl in ms, 4 ballot, 5 ms to keep a place
--       in the line (0: take none), 6 'arbiter' if the line is kept here,
--       'newcomer', or how many wait behind the first of the line, 7 identity
-- Reply: {0, µs, ballot of the holder (0: none), ms until its lease ends
--         (negative: unknown), how many are ahead}
--      | {1, µs, how many wait} granted | {2, µs, how many are ahead} reserved
--      | {3, µs, ms of quarantine left (negative: the identity is out of date)}
--      | {4, µs, what the ballot must exceed} | {5, µs} the ballot is too large

return vote({
  owner = ARGV[1], who = ARGV[2], ttl = ARGV[3], ballot = ARGV[4],
  keep = tonumber(ARGV[5]), role = ARGV[6],
}, micros())
