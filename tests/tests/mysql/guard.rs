//! What a guard does to others, and which leases have one.

use crate::dialect::LOST;
use crate::place::{LONG, Place, SECOND};
use leasehold::{Kind, Loss};
use leasehold_tests::patience::{LIMIT, now, pause, until};

const LEVELS: [&str; 3] = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

#[test]
fn a_guard_keeps_others_out_and_not_a_renewal() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    for level in LEVELS {
        let lease = place.wait(a.lock(level).ttl(2 * SECOND).acquire()).unwrap();
        let mut work = place.server.talk();
        work.say(&format!("SET TRANSACTION ISOLATION LEVEL {level}"));
        work.say("BEGIN");
        work.say("SELECT 1 FROM leasehold WHERE name = 'another'");
        assert_eq!(work.say(&lease.guard().unwrap()), "1");
        place.wait(lease.renew()).unwrap();
        place.pass(2 * SECOND);
        assert!(lease.is_valid(), "{level}: it is not renewed");
        assert!(place.try_hold(&b, level).is_none());
        work.say("COMMIT");
        place.wait(lease.release()).unwrap();
        assert!(place.try_hold(&b, level).unwrap().fence() > lease.fence());
    }
}

#[test]
fn a_guard_outlasts_the_ttl_of_its_lease() {
    let place = Place::new();
    let (client, other) = (place.client(), place.client());
    for level in LEVELS {
        for end in ["COMMIT", "ROLLBACK"] {
            let name = format!("{level} {end}");
            let lock = client.lock(&*name).ttl(SECOND).auto_renew(false);
            let lease = place.wait(lock.acquire()).unwrap();
            let guard = lease.guard().unwrap();
            let mut work = place.server.talk();
            work.say(&format!("SET TRANSACTION ISOLATION LEVEL {level}"));
            work.say("BEGIN");
            assert_eq!(work.say(&guard), "1");
            assert_eq!(place.wait(lease.lost()), Loss::Expired);
            assert_eq!(lease.guard().unwrap_err().kind(), Kind::Lost);
            place.pass(SECOND);
            let error = place.wait(other.lock(&*name).try_acquire()).unwrap_err();
            assert_eq!(error.kind(), Kind::Unavailable, "{error}");
            assert!(error.to_string().contains("keeps the lock's row"), "{error}");
            // It is as good as it was.
            assert_eq!(work.say(&guard), "1");
            work.say(end);
            assert!(place.try_hold(&other, &name).is_some());
        }
    }
}

#[test]
fn a_guard_keeps_no_other_lock_from_being_taken_at_any_isolation_level() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    for level in LEVELS {
        let names: Vec<String> = (0..16).map(|number| format!("{level} {number}")).collect();
        let (held, free) = names.split_at(8);
        let before = place.hold(&b, "before");
        let group = place.wait(a.locks(held.to_vec()).ttl(LONG).acquire()).unwrap();
        let mut work = place.server.talk();
        work.say(&format!("SET TRANSACTION ISOLATION LEVEL {level}"));
        work.say("BEGIN");
        assert_eq!(work.say(&group.guard().unwrap()), "1");
        for name in free.iter().chain(free) {
            // New rows, rows that were there, and what comes before all of them.
            let lease = place.try_hold(&b, name).unwrap();
            place.wait(lease.renew()).unwrap();
            place.wait(lease.release()).unwrap();
        }
        place.wait(before.release()).unwrap();
        place.hold(&b, "before");
        assert_eq!(work.say(&group.guard().unwrap()), "1");
        work.say("COMMIT");
        place.wait(group.release()).unwrap();
    }
}

#[test]
fn a_guard_that_waits_for_a_takeover_fails_at_every_isolation_level() {
    let place = Place::with_work();
    let client = place.client();
    for level in LEVELS {
        let lease = place.hold(&client, level);
        let guard = lease.guard().unwrap();
        let mut other = place.server.talk();
        other.say("BEGIN");
        let take = "version = version + 1, fence = fence + 1, owner = REPEAT('f', 32)";
        other.say(&format!("UPDATE leasehold SET {take} WHERE name = '{level}'"));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| {
                place.server.try_sql(&format!(
                    "SET TRANSACTION ISOLATION LEVEL {level}; BEGIN; \
                     SELECT COUNT(*) FROM work; INSERT INTO work VALUES ('x'); {guard}; COMMIT"
                ))
            });
            let waiting = "SELECT count(*) FROM information_schema.innodb_trx \
                           WHERE trx_state = 'LOCK WAIT'";
            // Whoever looks ten times in a second sees what was there at the first time.
            let look = || {
                pause(SECOND / 5);
                (place.server.sql(waiting) == "1").then_some(())
            };
            let stands = until(LIMIT, look);
            assert!(stands.is_some(), "the guard does not wait");
            other.say("COMMIT");
            let error = waits.join().unwrap().unwrap_err();
            assert!(error.contains(LOST), "{level}: {error}");
        });
    }
    assert_eq!(place.written(), "0");
}

#[test]
fn a_release_before_the_commit_is_not_confirmed_and_comes_true_after_it() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    let lease = place.hold(&a, "x");
    let mut work = place.server.talk();
    work.say("BEGIN");
    assert_eq!(work.say(&lease.guard().unwrap()), "1");
    let began = now();
    let error = place.wait(lease.release()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(began.elapsed() < LONG / 4, "{:?}", began.elapsed());
    // While the release is tried again, others wait for the row behind it.
    match place.wait(b.lock("x").try_acquire()) {
        Ok(lease) => assert!(lease.is_none(), "it was given back"),
        Err(error) => assert!(error.to_string().contains("keeps the lock's row"), "{error}"),
    }
    work.say("COMMIT");
    let next = until(LIMIT, || place.wait(b.lock("x").try_acquire()).ok().flatten());
    assert!(next.unwrap().fence() > lease.fence());
}

#[test]
fn groups_terms_and_tickets_have_guards_and_shared_locks_have_none() {
    let place = Place::with_work();
    let a = place.client();
    let shared = place.wait(a.lock("config").ttl(LONG).shared().acquire()).unwrap();
    let permit = place.wait(a.lock("gpu").ttl(LONG).permits(3).acquire()).unwrap();
    for lease in [shared, permit] {
        let error = lease.guard().unwrap_err();
        assert_eq!((error.kind(), lease.is_valid()), (Kind::Unsupported, true));
        assert!(error.to_string().contains("lease.fence()"), "{error}");
    }
    place.groups_terms_and_tickets_have_guards();
}
