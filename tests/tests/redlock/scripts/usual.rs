//! The usual case of a vote, which stands before the rules.

use super::{GRANTED, Node, SECOND, VOTE};

/// What the usual case grants at once, the rules grant too, and leave the same.
#[test]
fn what_it_grants_the_rules_grant_too() {
    const BY_RULE: &str = concat!(
        "local time = redis.call('TIME')\nlocal now = time[1] * 1000000 + time[2]\n",
        script!("line", "ballot", "vote")
    );
    let node = Node::new();
    let mut granted = 0;
    for round in 0..3000 {
        let now = node.now();
        let near = |spans: [i64; 5]| now + spans[fastrand::usize(..5)] + fastrand::i64(0..3);
        const HOUR: i64 = 3600 * SECOND;
        let until = near([-100 * HOUR, -HOUR, -SECOND, 0, HOUR]);
        node.trust(["me", "me", "me", "another"][fastrand::usize(..4)], until);
        let ballot = near([-13 * HOUR, -HOUR, -5, 0, 2 * SECOND]);
        let seen = [("fence", ballot - 5), ("fence", ballot), ("ballot", ballot - 1)];
        let reserved = ("reserved", near([-HOUR, -SECOND, 0, SECOND, HOUR]) / 1000);
        let before: Vec<_> =
            seen.into_iter().chain([reserved]).filter(|_| fastrand::bool()).collect();
        let (ttl, role) = (["60000", "7200000"][fastrand::usize(..2)], fastrand::usize(..4));
        let role = ["arbiter", "newcomer", "0", "2"][role];
        let has = [(); 2].map(|()| fastrand::u32(..4) == 0);
        let left = [VOTE, BY_RULE].map(|script| {
            node.server.command(&["DEL", "x", "{x}:side", "{x}:line"]);
            for (field, value) in &before {
                node.server.command(&["HSET", "{x}:side", field, &value.to_string()]);
            }
            if has[0] {
                node.server.command(&["SET", "x", "b channel label", "PX", "60000"]);
            }
            if has[1] {
                node.server.command(&["ZADD", "{x}:line", "1", "c"]);
            }
            let ballot = ballot.to_string();
            let said =
                node.about(script, &["a", "channel label", ttl, &ballot, "0", role, "me"])[0];
            // What is written lives for a day.
            let lives = node.server.command(&["PTTL", "{x}:side"]).as_int().unwrap();
            (said, node.server.command(&["HGETALL", "{x}:side"]), node.holder(), lives / 1_000_000)
        });
        granted += usize::from(left[0].0 == GRANTED);
        let differs =
            |what| format!("round {round}: {before:?}, {ballot}, {role}, {has:?}: {what:?}");
        assert_eq!((left[0].0, &left[0].2), (left[1].0, &left[1].2), "{}", differs(&left));
        if left[0].0 == GRANTED {
            assert_eq!(left[0].1, left[1].1, "{}", differs(&left));
        }
    }
    assert!(granted > 100, "{granted}");
}
