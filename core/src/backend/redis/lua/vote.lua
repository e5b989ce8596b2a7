-- Ask a node of a quorum for its vote.
-- ARGV: 1 ms to remember, 2 owner, 3 channel and label, 4 ttl in ms, 5 ballot, 6 ms
--       to keep a place in the line (0: take none), 7 'arbiter' if the line is
--       kept here, 'newcomer', or how many wait behind the first of the line,
--       8 identity
-- Reply: {0, µs, ballot of the holder (0: none), ms until its lease ends
--         (negative: unknown), how many are ahead}
--      | {1, µs, how many wait} granted | {2, µs, how many are ahead} reserved
--      | {3, µs, ms of quarantine left (negative: the identity is out of date)}
--      | {4, µs, what the ballot must exceed} | {5, µs} the ballot is too large

return vote({
  owner = ARGV[2], who = ARGV[3], ttl = ARGV[4], ballot = ARGV[5],
  keep = tonumber(ARGV[6]), role = ARGV[7],
}, micros())
