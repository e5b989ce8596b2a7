//! Rules whose tests are in the file of tests `zookeeper`.

use super::{Rule, rule};

#[rustfmt::skip] // as a table: name, test, file, healthy, broken
pub(super) const RULES: &[Rule] = &[
    rule(
        "what a follower of ZooKeeper answers by itself is a beat",
        "parted::who_holds_by_a_follower_that_is_cut_off_stops_before_the_next_one_holds",
        "backend/zookeeper/link.rs",
        "let nothing = Ask::Delete { path: NOTHING.to_owned() };",
        "let nothing = Ask::Exists { path: NOTHING.to_owned(), watch: false };",
    ),
    rule(
        "what a leader of ZooKeeper answers alone is a beat",
        "parted::who_holds_by_a_leader_that_was_deposed_stops_before_the_next_one_holds",
        "backend/zookeeper/link.rs",
        "let nothing = Ask::Delete { path: NOTHING.to_owned() };",
        "let nothing = Ask::Sync { path: \"/\".to_owned() };",
    ),
    rule(
        "a lease in ZooKeeper lasts from the last beat",
        "liar::a_lease_lasts_from_a_beat_of_which_the_leader_has_heard_and_not_from_the_last",
        "backend/zookeeper/proof.rs",
        "let proven = proven.map(|(first, _)| first);",
        "let proven = proven.map(|_| sent);",
    ),
    rule(
        "a beat in ZooKeeper is proven by one that its follower may have answered unheard",
        "liar::a_lease_lasts_from_a_beat_of_which_the_leader_has_heard_and_not_from_the_last",
        "backend/zookeeper/proof.rs",
        "let second = newest(sent, Duration::ZERO);",
        "let second = Some((sent, now));",
    ),
    rule(
        "a create in ZooKeeper is repeated after its answer was lost",
        "answers::a_claim_behind_another_whose_answer_is_lost_stands_in_line_once",
        "backend/zookeeper/claim.rs",
        "Err(failure @ Failure::Lost(_)) => {\n                    places.doubt(attempt);",
        "Err(failure @ Failure::Lost(_)) => {\n                    places.leave(attempt);",
    ),
    rule(
        "who waits in ZooKeeper watches nobody over a new connection",
        "waiting::a_waiter_hears_of_a_release_also_after_its_connection_was_made_anew",
        "backend/zookeeper/claim.rs",
        "link.send(Ask::Data { path, watch: true })",
        "link.send(Ask::Data { path, watch: false })",
    ),
    rule(
        "who tries in ZooKeeper is told what a follower believes",
        "parted::who_tries_by_a_follower_that_is_cut_off_is_not_told_that_a_free_lock_is_busy",
        "backend/zookeeper/claim.rs",
        "let synced = link.send(Ask::Sync { path: dir.clone() });\n            let line = self.zk.line(&link, &dir).await?;\n            synced.await_it().await?;",
        "let line = self.zk.line(&link, &dir).await?;",
    ),
    rule(
        "a line of which nothing was heard is empty in ZooKeeper",
        "liar::who_waits_keeps_its_place_when_a_release_hears_nothing_of_the_line",
        "backend/zookeeper/release.rs",
        "let line = read_line(line).await.ok();",
        "let line = Some(read_line(line).await.unwrap_or_default());",
    ),
    rule(
        "each connection of a session in ZooKeeper counts its requests from the beginning",
        "liar::no_number_is_used_again_by_the_next_connection_of_a_session",
        "backend/zookeeper/link.rs",
        "let xid = self.goes_on.number();",
        "let xid = state.total as i32;",
    ),
];
