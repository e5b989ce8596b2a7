//! Rules whose tests are in the file of tests `redlock`.

use super::{Rule, rule};

#[rustfmt::skip] // as a table: name, test, file, healthy, broken
pub(super) const RULES: &[Rule] = &[
    rule(
        "a node that was away shows what a leader showed before",
        "elections::what_a_leader_proclaims_comes_to_all_nodes_also_to_one_that_was_not_there",
        "backend/redis/lua/keep.lua",
        "    if holder ~= value and string.find(who, ' .') then redis.pcall('SET', lock, value, 'KEEPTTL') end\n",
        "",
    ),
    rule(
        "clients need not agree",
        "founding::whoever_counts_otherwise_is_refused",
        "backend/redis/lua/epoch.lua",
        "if record[2] and record[2] ~= ARGV[2] then return {'other', record[2]} end",
        "",
    ),
    rule(
        "a real node does not know itself",
        "scripts::a_node_that_is_another_than_at_connect_grants_nothing",
        "backend/redis/lua/ballot.lua",
        "if epoch[1] ~= ARGV[#ARGV] then return -1, now end",
        "",
    ),
    rule(
        "a real node lets anybody give back",
        "scripts::a_late_return_leaves_what_was_granted_since",
        "backend/redis/lua/give_back_last.lua",
        "local held = value and string.sub(value, 1, #owner + 1) == owner .. ' '",
        "local held = true or value and string.sub(value, 1, #owner + 1) == owner .. ' '",
    ),
    rule(
        "a node without memory for one lease renews no other",
        "scripts::a_lease_is_renewed_though_there_is_no_memory_for_another_one",
        "backend/redis/lua/keep.lua",
        "and redis.pcall('SET', lock, owner .. ' ' .. who, 'PX', ttl).ok then",
        "and redis.call('SET', lock, owner .. ' ' .. who, 'PX', ttl).ok then",
    ),
    rule(
        "what a node without memory is given back has no end",
        "scripts::what_is_given_back_to_a_node_without_memory_leaves_nothing_for_ever",
        "backend/redis/lua/give_back.lua",
        "if type(redis.pcall('HSET', KEYS[2], 'fence', ARGV[3])) == 'number' then",
        "if redis.pcall('HSET', KEYS[2], 'fence', ARGV[3]) then",
    ),
    rule(
        "a real node grants any ballot in the usual case",
        "scripts::usual::what_it_grants_the_rules_grant_too",
        "backend/redis/lua/vote_free.lua",
        "and ballot > stored and ballot <= now + 1000000",
        "and ballot <= now + 1000000",
    ),
    rule(
        "a real node grants any ballot",
        "scripts::ballots_rise",
        "backend/redis/lua/ballot.lua",
        "\n  if ballot <= above then return {STALE, now, above} end",
        "",
    ),
    rule(
        "a ballot may be far ahead",
        "scripts::a_ballot_far_ahead_or_far_behind_is_refused",
        "backend/redis/lua/ballot.lua",
        "  if ballot > now + CLAMP then return {AHEAD, now} end\n  if has_line",
        "  if has_line",
    ),
    rule(
        "what a slow node did not hear is not told again",
        "owed::a_release_that_a_slow_server_did_not_get_is_told_to_it_again",
        "backend/quorum/owed.rs",
        "self.ledger(node).under_way.push(Payment { debt, asking, late: None });",
        "drop((debt, asking));",
    ),
    rule(
        "a closed client forgets the slowest node",
        "owed::a_client_that_is_closed_tells_a_slow_server_first",
        "engine/mod.rs",
        "        self.settle().await;\n        self.stop();",
        "        self.stop();",
    ),
];
