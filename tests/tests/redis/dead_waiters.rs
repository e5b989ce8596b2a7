//! What those cost who died while they waited.

use crate::place::{LONG, Place, SECOND};
use leasehold::Client;
use leasehold_tests::own_keys::{line, side, waiting};
use leasehold_tests::patience::{LIMIT, until};
use leasehold_tests::resp::Reply;
use leasehold_tests::servers::Server;

const DEAD: usize = 100_000;

/// Nobody hears this: the process that listened is gone.
const NOBODY: &str = "leasehold:00000000000000000000000000000000";

/// Put some into the line of a lock that somebody waits for, at the front by a
/// negative score. `place`: until when they are taken for alive, and the rest.
const DIE: &str = "
for number = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local owner = string.format('dead%028d', number)
  redis.call('ZADD', KEYS[1], ARGV[3] + number, owner)
  redis.call('HSET', KEYS[2], owner, ARGV[4])
end";

struct Grave<'a> {
    server: &'a Server,
    line: String,
    side: String,
}

impl<'a> Grave<'a> {
    fn of(server: &'a Server, lock: &str) -> Self {
        let (line, side) = (line(server, lock).unwrap(), side(server, lock).unwrap());
        Self { server, line, side }
    }

    fn bury(&self, dead: usize, first_score: i64, place: &str) {
        let numbers: Vec<usize> = (0..dead).collect();
        for some in numbers.chunks(10_000) {
            let [from, to] = [some[0], some[some.len() - 1]].map(|number| number.to_string());
            let score = first_score.to_string();
            let words = ["EVAL", DIE, "2", &self.line, &self.side, &from, &to, &score, place];
            assert_eq!(self.server.command(&words), Reply::Nil);
        }
    }

    /// How many of them are left.
    fn count(&self) -> i64 {
        self.server.command(&["ZCOUNT", &self.line, "-inf", "-1"]).as_int().unwrap()
    }
}

/// Long dead, or taken for alive until they are found not to listen.
fn places() -> [String; 2] {
    [format!("1 60000 {NOBODY} long dead"), format!("99999999999999 60000 {NOBODY} just killed")]
}

#[test]
fn a_hundred_thousand_dead_waiters_keep_neither_the_next_nor_the_server() {
    for place_of_dead in places() {
        let place = Place::new();
        let (holder, waiting) = (place.client(), place.client());
        let lease = place.hold(&holder, "x");
        let waiter = place.stand_in_line(&waiting, "x");
        let grave = Grave::of(&place.server, "leasehold:x");
        grave.bury(DEAD, -1_000_000, &place_of_dead);
        let (lease, took) = place.hand_over(lease, waiter);
        // It may have to look again by itself.
        assert!(took < SECOND * 2, "{took:?}");
        let before = grave.count();
        // A million of them, all at once, are five seconds of the server.
        assert!(before > DEAD as i64 / 2, "{before} are left");
        place.wait(lease.release()).unwrap();
        let passed = before - grave.count();
        assert!((1..=1100).contains(&passed), "{passed} at once");
    }
}

#[test]
fn a_lock_with_none_but_dead_waiters_is_free_and_the_line_ends() {
    let place = Place::new();
    let (holder, client) = (place.client(), place.client());
    let lease = place.hold(&holder, "x");
    let waiter = place.stand_in_line(&client, "x");
    let grave = Grave::of(&place.server, "leasehold:x");
    grave.bury(20_000, -1_000_000, &places()[0]);
    waiter.abort();
    let has_left = || (waiting(&place.server, "leasehold:x") <= 20_000).then_some(());
    until(LIMIT, has_left).expect("its place is given up");
    place.wait(lease.release()).unwrap();
    let turn = |client: &Client| place.wait(client.lock("x").ttl(LONG).try_acquire()).unwrap();
    for _ in 0..40 {
        let lease = turn(&client).expect("nobody holds it");
        place.wait(lease.release()).unwrap();
    }
    assert_eq!(waiting(&place.server, "leasehold:x"), 0);
    let left = place.server.command(&["HLEN", &grave.side]).as_int().unwrap();
    assert!(left < 5, "{left} fields are left");
}

#[test]
fn nobody_overtakes_for_longer_than_the_dead_last() {
    let place = Place::new();
    let (holder, client) = (place.client(), place.client());
    let lease = place.hold(&holder, "x");
    let waiter = place.stand_in_line(&client, "x");
    let grave = Grave::of(&place.server, "leasehold:x");
    grave.bury(20_000, -1_000_000, &places()[0]);
    // One who comes again and again, and never waits.
    place.wait(lease.release()).unwrap();
    let newcomer = place.client();
    let mut turns = 0;
    while !waiter.is_finished() {
        let lease = place.wait(newcomer.lock("x").ttl(LONG).try_acquire()).unwrap();
        turns += usize::from(lease.is_some());
        if let Some(lease) = lease {
            place.wait(lease.release()).unwrap();
        }
    }
    place.granted(waiter);
    assert!(turns < 100, "{turns} came before it");
}

#[test]
fn the_dead_behind_one_who_lives_become_fewer_with_those_who_come() {
    let place = Place::new();
    let (holder, client) = (place.client(), place.client());
    let _lease = place.hold(&holder, "x");
    let first = place.stand_in_line(&client, "x");
    let grave = Grave::of(&place.server, "leasehold:x");
    grave.bury(500, 1_000_000, &places()[0]);
    let other = place.client();
    let come = || {
        let waiter = place.queue(other.lock("x").wait(SECOND / 100));
        drop(place.wait(waiter));
        (waiting(&place.server, "leasehold:x") < 50).then_some(())
    };
    until(LIMIT, come).expect("they are forgotten");
    assert!(!first.is_finished());
}

/// A server deletes a key that expires in one step, and a million places take it
/// half a second.
#[test]
fn a_line_has_ten_thousand_places_and_who_finds_none_waits_all_the_same() {
    const PLACES: usize = 10_000;
    let place = Place::new();
    let (holder, client, late) = (place.client(), place.client(), place.client());
    let lease = place.hold(&holder, "x");
    let first = place.stand_in_line(&client, "x");
    let grave = Grave::of(&place.server, "leasehold:x");
    grave.bury(PLACES - 1, 1_000_000, &places()[1]);
    let asked = || place.server.calls_by_command().get("evalsha").copied().unwrap_or_default();
    let before = asked();
    let waiter = place.queue(late.lock("x").ttl(LONG));
    until(LIMIT, || (asked() > before + 1).then_some(())).expect("both ask again");
    assert_eq!(waiting(&place.server, "leasehold:x"), PLACES as i64);
    let (lease, _) = place.hand_over(lease, first);
    place.wait(lease.release()).unwrap();
    place.granted(waiter);
}

#[test]
fn a_line_that_is_full_of_the_dead_takes_in_who_lives() {
    let place = Place::new();
    let (holder, client) = (place.client(), place.client());
    let _lease = place.hold(&holder, "x");
    let _first = place.stand_in_line(&client, "x");
    let grave = Grave::of(&place.server, "leasehold:x");
    grave.bury(10_000, 1_000_000, &places()[0]);
    let _waiter = place.queue(place.client().lock("x").ttl(LONG));
    let last = || {
        let last = place.server.command(&["ZRANGE", &grave.line, "-1", "-1"]);
        let owner = last.as_list()?.first()?.as_str()?.to_owned();
        (!owner.starts_with("dead")).then_some(())
    };
    until(LIMIT, last).expect("it has a place");
    assert!(waiting(&place.server, "leasehold:x") <= 10_000);
}

#[test]
fn what_died_in_a_line_is_not_shown() {
    let place = Place::new();
    let (holder, client) = (place.client(), place.client());
    let _lease = place.hold(&holder, "x");
    let _waiter = place.stand_in_line(&client, "x");
    let grave = Grave::of(&place.server, "leasehold:x");
    grave.bury(DEAD, -1_000_000, &places()[0]);
    let scripts = || place.server.calls_by_command().get("evalsha").copied().unwrap_or_default();
    let before = scripts();
    let status = place.wait(holder.status("x")).unwrap().unwrap();
    let asked = scripts() - before;
    assert!(asked > DEAD as u64 / 1000, "all of them in {asked} steps");
    assert_eq!(status.waiters.len(), 1, "{:?}", status.waiters);
    let list = place.wait(holder.list()).unwrap();
    assert_eq!((list.len(), &list[0].waiters), (1, &status.waiters));
}

/// Claims that may come late are refused for an hour. What was noted for that is
/// forgotten with later ones, however much there is of it.
#[test]
fn what_was_withdrawn_long_ago_is_forgotten_in_short_steps() {
    const WITHDRAW: &str = concat!(
        include_str!("../../../core/src/backend/redis/lua/line.lua"),
        include_str!("../../../core/src/backend/redis/lua/share.lua"),
        include_str!("../../../core/src/backend/redis/lua/hand_on.lua"),
        include_str!("../../../core/src/backend/redis/lua/withdraw.lua"),
    );
    let place = Place::new();
    let client = place.client();
    let _lease = place.hold(&client, "x");
    let _waiter = place.stand_in_line(&place.client(), "x");
    let grave = Grave::of(&place.server, "leasehold:x");
    grave.bury(DEAD, 1_000_000, "gone 1");
    place.server.command(&["ZREMRANGEBYSCORE", &grave.line, "1000000", "+inf"]);
    let fields = || place.server.command(&["HLEN", &grave.side]).as_int().unwrap();
    let (before, cpu) = (fields(), place.server.cpu());
    for number in 0..500 {
        let (owner, keys) = (format!("{number:032x}"), ["leasehold:x", &grave.side, &grave.line]);
        let words =
            [&["EVAL", WITHDRAW, "3"], &keys[..], &["86400000", &owner, "3600000"]].concat();
        assert_eq!(place.server.command(&words), Reply::Int(1));
    }
    let fewer = before - fields();
    assert!(fewer > 500 * 5, "{fewer} fewer");
    // It took 30 ms each, when all were looked at.
    let each = (place.server.cpu() - cpu) / 500;
    assert!(each < SECOND / 200, "{each:?}");
}
