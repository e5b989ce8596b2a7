//! The rules of a node for those who share a lock, one by one, asked of its scripts.

use super::{
    AHEAD, BUSY, GRANTED, Node, OUST, QUARANTINED, REMEMBER, RESERVED, SECOND, STALE, VOTE,
};
use leasehold_tests::resp::Reply;

const VOTE_SHARE: &str = script!("turn", "line", "ballot", "vote_share");
const GIVE_BACK_SHARE: &str = script!("turn", "line", "ballot", "give_back_share");
const KEEP_SHARE: &str = script!("turn", "keep_share");

const OTHER: i64 = 6;

const KEYS: [&str; 6] = ["x", "{x}:side", "{x}:line", "{x}:turn", "{x}:ends", "e"];

impl Node {
    fn about_share(&self, script: &str, arguments: &[&str]) -> Vec<i64> {
        let reply = self.run(script, &KEYS, &[&[REMEMBER], arguments].concat());
        let reply = reply.as_list().unwrap_or_else(|| panic!("{reply:?}"));
        reply.iter().map(|number| number.as_int().unwrap()).collect()
    }

    fn asks(&self, owner: &str, ballot: i64, wanted: &str, keep: &str, role: &str) -> Vec<i64> {
        let (ballot, who) = (ballot.to_string(), format!("leasehold:1 {owner}"));
        let ask = [owner, &who, "60000", &ballot, keep, role, wanted, "me"];
        self.about_share(VOTE_SHARE, &ask)
    }

    /// What it says to who would share the lock in any turn: a word, and the turn or what
    /// is too small.
    fn share(&self, owner: &str, ballot: i64) -> (i64, i64) {
        let reply = self.asks(owner, ballot, "", "0", "arbiter");
        (reply[0], reply[reply.len() - 1])
    }

    fn share_in(&self, owner: &str, ballot: i64, turn: i64) -> (i64, i64) {
        let reply = self.asks(owner, ballot, &turn.to_string(), "0", "arbiter");
        (reply[0], reply[reply.len() - 1])
    }

    /// Answers whether it had a share.
    fn return_share(&self, owner: &str, ballot: i64, what: &str) -> bool {
        self.about_share(GIVE_BACK_SHARE, &[owner, &ballot.to_string(), what, "me"])[0] == 1
    }

    /// What it says to a renewal.
    fn keep_share(&self, owner: &str, ballot: i64, fence: i64) -> String {
        let [ballot, fence] = [ballot, fence].map(|number| number.to_string());
        let who = format!("leasehold:1 {owner}");
        let arguments = [REMEMBER, owner, &who, "60000", &ballot, &fence, "me"];
        let keys = ["x", "{x}:side", "{x}:turn", "{x}:ends", "e"];
        let reply = self.run(KEEP_SHARE, &keys, &arguments);
        reply.as_list().unwrap()[0].as_str().unwrap().to_owned()
    }

    /// By which ballot or turn it is held.
    fn held_by(&self) -> i64 {
        self.about_share(OUST, &["0", "me"])[2]
    }

    /// Leases up to this one are over: whether one was here, and up to what they are over here.
    fn oust(&self, ballot: i64) -> (bool, i64) {
        let reply = self.about_share(OUST, &[&ballot.to_string(), "me"]);
        (reply[0] == 1, reply[1])
    }
}

#[test]
fn all_who_share_are_in_one_turn_that_nobody_changes() {
    let node = Node::new();
    let now = node.now();
    assert_eq!(node.share("a", now), (GRANTED, now));
    assert_eq!(node.share("a", now + 1), (GRANTED, now), "by a larger ballot");
    assert_eq!(node.share("b", now - 9), (GRANTED, now), "by a smaller one");
    assert_eq!(node.share_in("c", now + 2, now), (GRANTED, now));
    assert_eq!(node.share_in("d", now + 3, now + 3), (OTHER, now));
    assert_eq!(node.share_in("d", now + 3, now - 1), (OTHER, now));
    assert_eq!(node.share("e", now + 4), (GRANTED, now), "the turn goes on");
    assert_eq!(node.holder().as_deref(), Some("shared:-1"));
}

#[test]
fn each_ends_its_own_share_and_the_turn_ends_with_the_last() {
    let node = Node::new();
    let now = node.now();
    let ballots = [("a", now), ("b", now + 1), ("c", now + 2)];
    for (owner, ballot) in ballots {
        assert_eq!(node.share(owner, ballot), (GRANTED, now));
    }
    for (owner, ballot) in ballots {
        assert_eq!(node.vote("w", now + 9).0, BUSY);
        assert!(node.return_share(owner, ballot, "lease"));
        assert!(!node.return_share(owner, ballot, "lease"), "again");
    }
    assert_eq!(node.holder(), None);
    assert_eq!(node.vote("w", now), (STALE, now), "the turn is stored");
    assert!(node.grants("w", now + 9));
}

#[test]
fn the_plain_key_lives_until_the_last_share_ends() {
    let node = Node::new();
    let now = node.now();
    let lives = || node.server.command(&["PTTL", "x"]).as_int().unwrap();
    let ask = |owner: &str, ttl: &str, ballot: i64| {
        let ballot = ballot.to_string();
        let ask = [owner, "leasehold:1 label", ttl, &ballot, "0", "arbiter", "", "me"];
        assert_eq!(node.about_share(VOTE_SHARE, &ask)[0], GRANTED);
    };
    ask("a", "90000", now);
    ask("b", "30000", now + 1);
    assert!((80_000..=90_000).contains(&lives()), "{}", lives());
    assert!(node.return_share("a", now, "lease"));
    assert!((20_000..=30_000).contains(&lives()), "{}", lives());
    assert_eq!(node.keep_share("b", now + 2, now), "1");
    assert!((50_000..=60_000).contains(&lives()), "{}", lives());
    node.server.shift_clock(61.0);
    assert_eq!(lives(), -2);
    assert_eq!(node.share("c", node.now()).0, GRANTED);
    assert_eq!(node.server.command(&["ZCARD", "{x}:ends"]), Reply::Int(1), "none of the old");
}

#[test]
fn who_is_alone_and_those_who_share_keep_each_other_out() {
    let node = Node::new();
    let now = node.now();
    assert!(node.grants("w", now));
    assert_eq!(node.share("a", now + 1).0, BUSY);
    assert_eq!(node.keep_share("a", now + 1, now - 5), "0", "a renewal, too");
    assert!(node.give_back("w", now, "lease"));
    assert_eq!(node.share("a", now + 1), (GRANTED, now + 1));
    assert_eq!(node.vote("w", now + 2).0, BUSY);
    assert_eq!(node.keep("w", now + 2), "0", "a renewal, too");
    assert_eq!(node.holder().as_deref(), Some("shared:-1"));
}

#[test]
fn a_turn_that_is_begun_is_larger_than_all_before() {
    let node = Node::new();
    let now = node.now();
    assert!(node.grants("w", now) && node.give_back("w", now, "lease"));
    assert_eq!(node.share("a", now), (STALE, now));
    assert_eq!(node.share_in("a", now + 5, now), (STALE, now), "it may be from before");
    assert_eq!(node.share_in("a", now + 5, now + 6), (STALE, now + 6), "larger than the ballot");
    assert_eq!(node.share_in("a", now + 5, now + 2), (GRANTED, now + 2));
    assert!(node.return_share("a", now + 5, "lease"));
    assert_eq!(node.share("b", now + 9 + SECOND * 3).0, AHEAD);
    // Not above the end of the quarantine.
    let floor = node.now();
    node.trust("me", floor);
    assert_eq!(node.share("b", floor), (STALE, floor));
    node.trust("me", floor + 60 * SECOND);
    assert_eq!(node.share("b", node.now()).0, QUARANTINED);
}

#[test]
fn what_was_given_back_brings_no_share_again() {
    let node = Node::new();
    let now = node.now();
    assert_eq!(node.share("a", now), (GRANTED, now));
    assert_eq!(node.share("b", now + 1), (GRANTED, now));
    assert!(node.return_share("b", now + 7, "lease"), "by the ballot of its renewal");
    assert_eq!(node.share("b", now + 1), (STALE, now + 7), "a vote comes late");
    assert_eq!(node.share("b", now + 7), (STALE, now + 7));
    assert_eq!(node.keep_share("b", now + 7, now), "0", "a renewal comes late");
    assert_eq!(node.keep_share("c", now + 8, now), "2", "a new one is taken in");
    assert!(node.return_share("a", now, "lease") && node.return_share("c", now + 8, "lease"));
    // Nor where nobody shares.
    assert_eq!(node.share_in("b", now + 8, now + 1), (STALE, now + 8));
    assert_eq!(node.keep_share("b", now + 8, now), "0");
    // Far ahead: nobody granted it, and it would keep all out.
    assert!(!node.return_share("d", now + 60 * SECOND, "lease"));
    assert_eq!(node.share("d", now + 9), (GRANTED, now + 9));
}

#[test]
fn a_late_return_of_a_round_leaves_the_later_vote_alone() {
    let node = Node::new();
    let now = node.now();
    assert_eq!(node.share("a", now), (GRANTED, now));
    assert_eq!(node.share("a", now + 5), (GRANTED, now));
    assert!(!node.return_share("a", now, "vote"));
    assert_eq!(node.holder().as_deref(), Some("shared:-1"));
    assert!(node.return_share("a", now + 5, "vote"));
    assert_eq!(node.holder(), None);
}

#[test]
fn a_renewal_is_kept_in_its_own_turn_only() {
    let node = Node::new();
    let now = node.now();
    assert_eq!(node.share("a", now), (GRANTED, now));
    assert_eq!(node.keep_share("b", now + 1, now - 50), "0");
    assert_eq!(node.share("b", now + 2), (GRANTED, now));
    // What it shares here is no part of its lease, and ends.
    assert_eq!(node.keep_share("b", now + 3, now - 50), "0");
    assert!(!node.return_share("b", now + 3, "vote"));
    // Nobody else: its own turn begins anew.
    assert_eq!(node.keep_share("a", now + 4, now - 50), "2");
    let value = node.server.command(&["GET", "x"]);
    assert_eq!(value.as_str().unwrap(), format!("shared:-1 {}", now - 50));
}

#[test]
fn nobody_joins_a_turn_that_may_be_older_than_a_writer() {
    let node = Node::new();
    let now = node.now();
    assert!(node.grants("w", now) && node.give_back("w", now, "attempt"));
    assert_eq!(node.keep_share("a", now + 1, now - 50), "2");
    assert_eq!(node.share("b", now + 2), (BUSY, 0));
    assert_eq!(node.keep_share("b", now + 3, now - 50), "2", "who was in it comes back");
    assert!(node.return_share("a", now + 3, "lease") && node.return_share("b", now + 3, "lease"));
    // One that is not above the end of the quarantine may be from an older record.
    let turn = node.now();
    assert_eq!(node.share("a", turn), (GRANTED, turn));
    node.trust("me", turn);
    assert_eq!(node.share("b", turn + 2), (BUSY, 0));
    assert_eq!(node.keep_share("a", turn + 3, turn), "1");
}

#[test]
fn a_renewal_takes_nothing_in_quarantine_nor_by_a_ballot_far_ahead() {
    let node = Node::new();
    let now = node.now();
    assert_eq!(node.share("a", now), (GRANTED, now));
    node.trust("me", now + 60 * SECOND);
    assert_eq!(node.keep_share("a", now + 1, now), "1", "what is there is kept");
    assert_eq!(node.keep_share("b", now + 2, now), "0");
    node.trust("me", now - SECOND);
    assert_eq!(node.keep_share("b", now + 60 * SECOND, now), "0");
    assert_eq!(node.keep_share("b", now + 3, now), "2");
    node.trust("another", now - SECOND);
    assert_eq!(node.keep_share("c", now + 4, now), "3");
}

#[test]
fn an_eviction_ends_the_turn_for_good() {
    let node = Node::new();
    let now = node.now();
    assert_eq!(node.held_by(), 0);
    assert_eq!(node.share("a", now), (GRANTED, now));
    assert_eq!(node.share("b", now + 5), (GRANTED, now));
    assert_eq!(node.held_by(), now);
    assert_eq!(node.oust(now), (true, now));
    assert_eq!((node.holder(), node.held_by()), (None, 0));
    assert_eq!(node.keep_share("a", now + 9, now), "0", "by whatever ballot");
    assert_eq!(node.share("b", now + 5), (STALE, now + 5), "a vote comes late");
    assert_eq!(node.share("c", now + 9), (GRANTED, now + 9));
}

#[test]
fn a_lease_that_is_broken_elsewhere_does_not_come_here() {
    let node = Node::new();
    let now = node.now();
    assert_eq!(node.oust(now), (false, now));
    assert_eq!(node.vote("w", now), (STALE, now), "a vote comes late");
    assert_eq!(node.keep("w", now), "0", "a renewal");
    assert_eq!(node.keep_share("a", now + 9, now), "0", "one of a turn");
    // Meanwhile it has come, or another.
    for shares in [false, true] {
        let ballot = node.now();
        let granted = match shares {
            true => node.share("a", ballot).0,
            // One that is known as ours.
            false => {
                let ballot = ballot.to_string();
                let ask = ["c", "leasehold:1 label", "60000", &ballot, "0", "arbiter", "me"];
                node.about(VOTE, &ask)[0]
            }
        };
        assert_eq!(granted, GRANTED);
        assert_eq!(node.oust(ballot - 1), (false, ballot - 1), "a later one stays");
        assert_eq!(node.held_by(), ballot);
        assert_eq!(node.oust(ballot), (true, ballot));
        assert_eq!(node.holder(), None);
    }
    // Nobody granted it, and it would keep all out.
    let over = node.oust(now).1;
    assert_eq!(node.oust(now + 60 * SECOND), (false, over));
    node.fill();
    assert_eq!(node.oust(node.now()), (false, over), "it does not say what it has not noted");
}

#[test]
fn a_lock_of_another_library_is_taken_from_that_very_holder_only() {
    let node = Node::new();
    let mut known = Vec::new();
    for value in ["theirs", "another's", "rest 1 label", "shared:3 7"] {
        node.server.command(&["SET", "x", value]);
        let number = node.held_by();
        assert!(number > 0 && !known.contains(&number), "{value}");
        for other in known.iter().chain(&[number + 1, node.now()]) {
            assert!(!node.oust(*other).0, "{value}");
        }
        assert_eq!(node.held_by(), number, "{value}");
        assert!(node.oust(number).0, "{value}");
        assert_eq!(node.holder(), None, "{value}");
        known.push(number);
    }
}

#[test]
fn who_would_share_passes_those_who_would_but_nobody_who_would_not() {
    let node = Node::new();
    let now = node.now();
    let waits = |owner: &str, ballot| node.asks(owner, ballot, "", "60000", "arbiter")[0];
    assert!(node.grants("w", now));
    assert_eq!([waits("a", now + 1), waits("b", now + 2)], [BUSY, BUSY]);
    assert_eq!(node.wait("v", now + 3), BUSY);
    assert_eq!(waits("c", now + 4), BUSY);
    node.expire();
    assert_eq!(node.asks("d", now + 5, "", "0", "arbiter")[0], RESERVED, "a newcomer");
    assert_eq!(node.vote("u", now + 5).0, RESERVED);
    assert_eq!(waits("b", now + 6), GRANTED);
    // Nobody listens for the other here; it is woken, and taken for dead.
    let busy = node.asks("c", now + 8, "", "60000", "arbiter");
    assert_eq!((busy[0], busy[4]), (BUSY, 1), "the one who would be alone stands before it");
    assert_eq!(node.line(), ["v", "c"]);
    node.server.command(&["ZREM", "{x}:line", "v"]);
    assert_eq!(waits("c", now + 9), GRANTED);
}

/// Owners who share the lock for so many ms.
const SHARERS: &str = "
local time = redis.call('TIME')
local ends = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
for number = 1, tonumber(ARGV[2]) do
  redis.call('ZADD', KEYS[5], string.format('%.0f', ends), number .. ARGV[1])
  redis.call('HSET', KEYS[4], number .. ARGV[1], '1 1 leasehold:1 seeded')
end
return 1";

#[test]
fn those_whose_time_is_over_keep_nobody_out_and_go_while_the_others_renew() {
    let node = Node::new();
    let now = node.now();
    assert_eq!(node.share("a", now), (GRANTED, now));
    let seed = |lasts: &str| node.run(SHARERS, &KEYS, &[lasts, "9000"]);
    assert_eq!(seed("-1"), Reply::Int(1));
    assert_eq!(node.share("b", now + 1), (GRANTED, now), "they are dead");
    // Those who live renew, and nobody comes.
    for renewal in 2..40 {
        assert_eq!(node.keep_share("a", now + renewal, now), "1");
    }
    for (key, count) in [("{x}:ends", "ZCARD"), ("{x}:turn", "HLEN")] {
        let left = node.server.command(&[count, key]).as_int().unwrap();
        assert!(left < 10, "{left} are left in {key}");
    }
    assert_eq!(seed("60000"), Reply::Int(1));
    assert_eq!(node.share("c", now + 50).0, BUSY, "there is no room");
    assert_eq!(node.share("b", now + 51), (GRANTED, now), "who shares has it");
}

#[test]
fn every_write_about_a_share_has_an_end() {
    let node = Node::new();
    let now = node.now();
    let ends = |what: &str| {
        for key in ["{x}:side", "{x}:turn", "{x}:ends"] {
            let lives = node.server.command(&["PTTL", key]).as_int().unwrap();
            let fits = lives == -2 || (86_400_000..=90_000_000).contains(&lives);
            assert!(fits, "after {what} {key} lives for {lives} ms");
        }
        assert_ne!(node.server.command(&["EXISTS", "{x}:turn"]), Reply::Int(0), "{what}");
    };
    assert_eq!(node.share("a", now).0, GRANTED);
    ends("a vote");
    assert_eq!(node.keep_share("b", now + 1, now), "2");
    ends("what is taken in");
    node.server.command(&["DEL", "{x}:side"]);
    assert_eq!(node.keep_share("b", now + 2, now), "1");
    ends("a renewal");
    assert_eq!(node.oust(now), (true, now));
    ends("an eviction");
    node.server.command(&["DEL", "{x}:turn", "{x}:ends"]);
    assert!(!node.return_share("c", now + 3, "attempt"));
    ends("a ballot that is used up");
}

#[test]
fn without_memory_no_turn_begins_and_those_who_share_renew_and_return() {
    let node = Node::new();
    let now = node.now();
    assert_eq!(node.share("a", now).0, GRANTED);
    node.fill();
    assert_eq!(node.keep_share("a", now + 1, now), "1");
    assert!(node.return_share("a", now + 1, "lease"));
    assert_eq!(node.holder(), None);
    let ballot = (now + 2).to_string();
    let ask = [REMEMBER, "b", "leasehold:1 b", "60000", &ballot, "0", "arbiter", "", "me"];
    let refusal = node.run(VOTE_SHARE, &KEYS, &ask);
    assert!(matches!(refusal, Reply::Error(_)), "{refusal:?}");
    assert_eq!(node.holder(), None);
}
