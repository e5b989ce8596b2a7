//! The rules of a node, one by one, asked of its scripts.

use leasehold_tests::resp::Reply;
use leasehold_tests::servers::{Server, Settings};

macro_rules! script {
    ($($file:literal),+) => {
        concat!($(include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../core/src/backend/redis/lua/",
            $file,
            ".lua"
        ))),+)
    };
}

mod turns;
mod usual;

const VOTE: &str = script!("vote_free", "line", "ballot", "vote");
const GIVE_BACK: &str = script!("give_back_last", "line", "ballot", "give_back");
const OUST: &str = script!("line", "ballot", "oust");
const KEEP: &str = script!("keep");

const BUSY: i64 = 0;
const GRANTED: i64 = 1;
const RESERVED: i64 = 2;
const QUARANTINED: i64 = 3;
const STALE: i64 = 4;
const AHEAD: i64 = 5;

/// A day, in ms.
const REMEMBER: &str = "86400000";

const SECOND: i64 = 1_000_000;

/// A node whose record says that it is `me`, in quarantine until some time ago.
struct Node {
    server: Server,
}

impl Node {
    fn new() -> Self {
        let node = Self { server: Settings::default().shifted_clock().start() };
        node.trust("me", node.now() - 60 * SECOND);
        node
    }

    fn trust(&self, identity: &str, until: i64) {
        self.server.command(&["HSET", "e", "identity", identity, "until", &until.to_string()]);
    }

    fn now(&self) -> i64 {
        let time = self.server.command(&["TIME"]);
        let [seconds, micros] = time.as_list().unwrap() else { panic!("{time:?}") };
        let number = |reply: &Reply| reply.as_str().unwrap().parse::<i64>().unwrap();
        number(seconds) * SECOND + number(micros)
    }

    fn run(&self, body: &str, keys: &[&str], arguments: &[&str]) -> Reply {
        let count = keys.len().to_string();
        let command = [&["EVAL", body, &count], keys, arguments].concat();
        self.server.command(&command)
    }

    fn about(&self, script: &str, arguments: &[&str]) -> Vec<i64> {
        let keys = ["x", "{x}:side", "{x}:line", "e"];
        let arguments = [&[REMEMBER], arguments].concat();
        let reply = self.run(script, &keys, &arguments);
        let reply = reply.as_list().unwrap_or_else(|| panic!("{reply:?}"));
        reply.iter().map(|number| number.as_int().unwrap()).collect()
    }

    /// What it says to a claim: a word and, if that is stale, what is too small.
    fn vote(&self, owner: &str, ballot: i64) -> (i64, i64) {
        let ballot = ballot.to_string();
        let reply =
            self.about(VOTE, &[owner, "channel label", "60000", &ballot, "0", "arbiter", "me"]);
        (reply[0], reply.get(2).copied().unwrap_or_default())
    }

    fn grants(&self, owner: &str, ballot: i64) -> bool {
        self.vote(owner, ballot).0 == GRANTED
    }

    /// Answers whether it was held.
    fn give_back(&self, owner: &str, ballot: i64, what: &str) -> bool {
        self.about(GIVE_BACK, &[owner, &ballot.to_string(), what, "", "me"])[0] == 1
    }

    /// There is no memory for anything new.
    fn fill(&self) {
        self.server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    }

    /// What it says to a renewal.
    fn keep(&self, owner: &str, ballot: i64) -> String {
        let arguments = [REMEMBER, owner, "channel label", "60000", &ballot.to_string(), "me"];
        let reply = self.run(KEEP, &["x", "{x}:side", "e"], &arguments);
        reply.as_str().unwrap().to_owned()
    }

    /// What it says, as the node that keeps the line, to one who waits.
    fn wait(&self, owner: &str, ballot: i64) -> i64 {
        let (ballot, who) = (ballot.to_string(), format!("{owner}'s label"));
        self.about(VOTE, &[owner, &who, "60000", &ballot, "2000", "arbiter", "me"])[0]
    }

    fn line(&self) -> Vec<String> {
        let line = self.server.command(&["ZRANGE", "{x}:line", "0", "-1"]);
        let owners = line.as_list().unwrap().iter();
        owners.map(|owner| owner.as_str().unwrap().to_owned()).collect()
    }

    /// The lease ends by itself.
    fn expire(&self) {
        self.server.command(&["DEL", "x"]);
    }

    fn holder(&self) -> Option<String> {
        let value = self.server.command(&["GET", "x"]);
        value.as_str().and_then(|value| value.split(' ').next()).map(str::to_owned)
    }
}

#[test]
fn what_is_given_back_to_a_node_without_memory_leaves_nothing_for_ever() {
    let node = Node::new();
    node.fill();
    assert!(!node.give_back("a", node.now(), "lease"));
    assert_eq!(node.server.command(&["PTTL", "{x}:side"]), Reply::Int(-2));
}

#[test]
fn a_lease_is_renewed_though_there_is_no_memory_for_another_one() {
    let node = Node::new();
    let now = node.now();
    assert!(node.grants("b", now));
    node.fill();
    let ballot = now.to_string();
    let of = |owner| [owner, "channel label", "60000", &ballot];
    let arguments = [&[REMEMBER], &of("a")[..], &of("b")[..], &["me"]].concat();
    let reply = node.run(KEEP, &["y", "{y}:side", "x", "{x}:side", "e"], &arguments);
    assert_eq!(reply.as_str(), Some("01"));
}

#[test]
fn ballots_rise() {
    let node = Node::new();
    let now = node.now();
    assert!(node.grants("a", now));
    assert_eq!(node.vote("b", now + 1).0, BUSY);
    node.expire();
    assert_eq!(node.vote("b", now), (STALE, now), "the same ballot twice");
    assert!(node.grants("b", now + 1));
}

#[test]
fn a_holder_that_asks_again_is_granted_the_same_or_a_larger_ballot() {
    let node = Node::new();
    let now = node.now();
    assert!(node.grants("a", now) && node.grants("a", now));
    assert_eq!(node.vote("a", now - 1), (STALE, now));
    assert_eq!(node.vote("a", node.now() + 2 * SECOND).0, AHEAD);
    assert!(node.grants("a", now + 5));
    node.expire();
    assert_eq!(node.vote("b", now + 5), (STALE, now + 5), "the raise was not stored");
}

#[test]
fn a_ballot_far_ahead_or_far_behind_is_refused() {
    let node = Node::new();
    let now = node.now();
    assert_eq!(node.vote("a", now + 2 * SECOND).0, AHEAD);
    assert!(!node.give_back("a", now + 3600 * SECOND, "attempt"));
    assert!(node.grants("b", now), "a wild ballot was remembered");
    node.expire();
    node.server.command(&["DEL", "{x}:side"]);
    assert_eq!(node.vote("c", now - 13 * 3600 * SECOND).0, STALE, "its record may be forgotten");
}

#[test]
fn nothing_is_granted_in_quarantine_and_only_larger_ballots_afterwards() {
    let node = Node::new();
    let end = node.now() + 10 * SECOND;
    node.trust("me", end);
    assert_eq!(node.vote("a", node.now()).0, QUARANTINED);
    assert_eq!(node.keep("a", node.now()), "0", "taken in during quarantine");
    node.server.shift_clock(10.0);
    assert_eq!(node.vote("a", end), (STALE, end));
    assert!(node.grants("a", end + 1));
    // A lease from before is taken in, though it is smaller.
    node.expire();
    assert_eq!(node.keep("b", end - 5 * SECOND), "2");
    node.expire();
    assert_eq!(node.vote("c", end + 1), (STALE, end + 1), "what was granted is forgotten");
}

#[test]
fn a_node_that_is_another_than_at_connect_grants_nothing() {
    let node = Node::new();
    node.trust("another", node.now() - SECOND);
    assert_eq!(node.vote("a", node.now()), (QUARANTINED, -1));
    assert_eq!(node.keep("a", node.now()), "3");
    node.server.command(&["DEL", "e"]);
    assert_eq!(node.vote("a", node.now()), (QUARANTINED, -1));
    assert_eq!(node.holder(), None);
}

#[test]
fn what_is_given_back_is_used_up() {
    let node = Node::new();
    let now = node.now();
    for (owner, what) in [("a", "vote"), ("b", "attempt"), ("c", "lease")] {
        let ballot = node.now();
        assert!(!node.give_back(owner, ballot, what), "it was not held yet");
        assert_eq!(node.vote(owner, ballot), (STALE, ballot), "{what} came before its claim");
    }
    assert!(node.grants("d", node.now()));
    assert!(!node.give_back("e", node.now(), "lease"), "somebody else's");
    assert_eq!(node.holder().as_deref(), Some("d"));
    assert!(node.now() > now);
}

#[test]
fn a_late_return_leaves_what_was_granted_since() {
    let node = Node::new();
    let now = node.now();
    assert!(node.grants("a", now) && node.grants("a", now + 7));
    assert!(!node.give_back("a", now, "vote"));
    assert_eq!(node.holder().as_deref(), Some("a"));
    // The vote was by an earlier ballot than that of the lease.
    assert_eq!(node.keep("a", now + 9), "1");
    assert!(!node.give_back("a", now + 7, "vote"));
    assert!(node.give_back("a", now + 9, "lease"));
    assert_eq!(node.holder(), None);
}

#[test]
fn only_what_was_released_is_not_taken_in_again() {
    let node = Node::new();
    let now = node.now();
    assert_eq!(node.keep("a", now), "2");
    assert_eq!(node.keep("a", now), "1");
    assert_eq!(node.keep("b", now + 1), "0", "somebody else holds it");
    node.expire();
    assert_eq!(node.keep("a", now), "2", "it ended here, and nowhere else");
    node.expire();
    assert!(node.grants("b", now + 5) && node.give_back("b", now + 5, "attempt"));
    assert_eq!(node.keep("a", now), "2", "b's attempt came to nothing");
    assert!(node.give_back("a", now, "lease"));
    assert_eq!(node.keep("a", now), "0");
    assert_eq!(node.keep("c", now + 3), "2");
}

#[test]
fn who_gives_its_turn_back_stands_first_again() {
    let node = Node::new();
    let now = node.now();
    assert!(node.grants("a", now));
    assert_eq!([node.wait("b", now + 1), node.wait("c", now + 2)], [BUSY, BUSY]);
    node.expire();
    assert_eq!(node.wait("b", now + 3), GRANTED);
    assert!(!node.give_back("b", now + 1, "2000"), "of an earlier ballot");
    assert!(!node.give_back("c", now + 2, "2000"), "it was not granted");
    assert_eq!(node.line(), ["c"]);
    assert!(node.give_back("b", now + 3, "2000"));
    assert_eq!(node.line(), ["b", "c"]);
    assert_eq!([node.wait("c", now + 4), node.wait("b", now + 3)], [RESERVED, STALE]);
    assert_eq!(node.wait("b", now + 5), GRANTED);
    // It is dead: its place lapses.
    assert!(node.give_back("b", now + 5, "2000"));
    let place = node.server.command(&["HGET", "{x}:side", "b"]);
    assert!(place.as_str().unwrap().ends_with(" b's label"), "{place:?}");
    node.server.shift_clock(2.1);
    assert_eq!(node.wait("c", node.now()), GRANTED);
    assert_eq!(node.line(), [""; 0]);
}

/// Scripts that look at a line of the dead, as many as it takes to find who lives.
#[test]
fn a_hundred_thousand_dead_waiters_are_passed_in_short_steps() {
    const DIE: &str = "
    for number = ARGV[1], ARGV[2] do
      redis.call('ZADD', '{x}:line', number - 1000000, 'dead' .. number)
      redis.call('HSET', '{x}:side', 'dead' .. number, ARGV[3])
    end";
    for (place, deaf) in
        [("1 60000 nobody dead", false), ("99999999999999 60000 nobody dead", true)]
    {
        let node = Node::new();
        let now = node.now();
        assert!(node.grants("a", now));
        let ballot = (now + 1).to_string();
        let long = ["b", "b's label", "60000", &ballot, "600000", "arbiter", "me"];
        assert_eq!(node.about(VOTE, &long)[0], BUSY);
        for some in (0..100_000).step_by(10_000) {
            let [from, to] = [some, some + 9_999].map(|number: i64| number.to_string());
            node.run(DIE, &[], &[&from, &to, place]);
        }
        assert!(node.give_back("a", now, "lease"));
        // Who is taken for alive is passed when it is woken and does not hear it.
        let dead = || {
            let dead = ["ZCOUNT", "{x}:line", "-inf", "-1"];
            node.server.command(&dead).as_int().unwrap()
        };
        let (mut before, mut steps) = (dead(), 0);
        while before > 0 {
            match deaf {
                true => assert!(!node.give_back("c", node.now(), "vote")),
                false => drop(node.wait("b", now)),
            }
            let after = dead();
            // A million of them, all at once, are five seconds of the server.
            assert!((1..=1100).contains(&(before - after)), "{} at once", before - after);
            (before, steps) = (after, steps + 1);
        }
        assert!(steps < 1500, "{steps} steps");
        // Nobody listens to it here either.
        assert!(deaf || node.line() == ["b"], "{:?}", node.line());
        assert_eq!(node.wait("b", node.now()), GRANTED);
    }
}

#[test]
fn every_write_gives_the_side_hash_an_end() {
    let node = Node::new();
    let ends = |what: &str| {
        let lives = node.server.command(&["PTTL", "{x}:side"]).as_int().unwrap();
        assert!((86_400_000..=90_000_000).contains(&lives), "after {what} it lives for {lives} ms");
        node.server.command(&["DEL", "{x}:side"]);
    };
    let now = node.now();
    assert!(node.grants("a", now));
    ends("a grant");
    assert!(node.grants("a", now + 1));
    ends("a larger ballot");
    assert_eq!(node.keep("a", now + 1), "1");
    ends("a renewal");
    assert_eq!(node.wait("b", now + 2), BUSY);
    ends("a place in the line");
    assert!(node.give_back("a", now + 3, "2000"));
    ends("a place that was given back");
    assert_eq!(node.keep("a", now + 3), "2");
    ends("what is taken in");
    node.expire();
    assert!(!node.give_back("a", now + 4, "attempt"));
    ends("a ballot that is used up");
    node.server.command(&["DEL", "{x}:line"]);
    assert!(node.grants("a", node.now()));
    node.server.command(&["DEL", "{x}:side"]);
    node.about(VOTE, &["b", "channel label", "60000", &now.to_string(), "2000", "newcomer", "me"]);
    ends("a line elsewhere");
    node.server.command(&["SET", "x", "c leasehold:1 label"]);
    let keys = ["x", "{x}:side", "{x}:line", "{x}:turn", "{x}:ends", "e"];
    let seen = node.run(OUST, &keys, &[REMEMBER, "0", "me"]);
    let number = seen.as_list().unwrap()[2].as_int().unwrap();
    assert_eq!(node.server.command(&["EXISTS", "{x}:side"]), Reply::Int(0));
    let ousted = node.run(OUST, &keys, &[REMEMBER, &number.to_string(), "me"]);
    assert_eq!(ousted.as_list().unwrap()[0], Reply::Int(1));
    ends("a lock without a ballot that was broken");
}
