//! What a guard in a user's own transaction promises.

use crate::place::{LONG, Place, SECOND};
use leasehold::{Kind, Lease, Loss};
use leasehold_tests::patience::{LIMIT, now, pause, until};

/// What the guard of a lost lease says.
const LOST: &str = "lease_is_lost_so_this_transaction_must_not_commit";

const LEVELS: [&str; 3] = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

impl Place {
    /// A table of the user's.
    fn with_work() -> Self {
        let place = Self::new();
        place.server.sql("CREATE TABLE work (done text)");
        place
    }

    /// Write something in a transaction with this guard.
    fn write(&self, guard: &str) -> Result<String, String> {
        let write = "INSERT INTO work VALUES ('done')";
        self.server.try_sql(&format!("BEGIN; {write}; {guard}; COMMIT"))
    }

    fn written(&self) -> String {
        self.server.sql("SELECT count(*) FROM work")
    }
}

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
fn what_expired_is_guarded_until_somebody_takes_it() {
    let place = Place::with_work();
    let lock = place.client().lock("x").ttl(LONG).auto_renew(false);
    let lease = place.wait(lock.acquire()).unwrap();
    let guard = lease.guard().unwrap();
    // As if the clock of the server had been put forward.
    place.server.sql("UPDATE leasehold SET expires = 1 WHERE name = 'x'");
    place.write(&guard).unwrap();
    assert_eq!(place.written(), "1");
    assert!(place.try_hold(&place.client(), "x").is_some());
    assert!(place.write(&guard).unwrap_err().contains(LOST));
    assert_eq!(place.written(), "1");
}

#[test]
fn a_guard_fails_when_the_lease_is_not_held() {
    let place = Place::with_work();
    let (a, b) = (place.client(), place.client());
    let lose = |what: &str, lease: &Lease| match what {
        "released" => place.wait(lease.release()).unwrap(),
        "broken" => assert!(place.wait(b.break_lock(what)).unwrap()),
        "deleted" => drop(place.server.sql("DELETE FROM leasehold WHERE name = 'deleted'")),
        "handed on" => drop(place.wait(lease.into_ticket()).unwrap()),
        _ => {
            place.wait(lease.release()).unwrap();
            std::mem::forget(place.hold(&b, what));
        }
    };
    for what in ["released", "broken", "deleted", "handed on", "taken"] {
        let lease = place.hold(&a, what);
        let guard = lease.guard().unwrap();
        place.write(&guard).unwrap();
        lose(what, &lease);
        let error = place.write(&guard).unwrap_err();
        assert!(error.contains(LOST), "{what}: {error}");
    }
    assert_eq!(place.written(), "5");
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
    assert!(place.try_hold(&b, "x").is_none());
    work.say("COMMIT");
    let next = until(LIMIT, || place.wait(b.lock("x").try_acquire()).unwrap());
    assert!(next.unwrap().fence() > lease.fence());
}

#[test]
fn groups_terms_and_tickets_have_guards_and_shared_locks_have_none() {
    let place = Place::with_work();
    let (a, b) = (place.client(), place.client());
    let shared = place.wait(a.lock("config").ttl(LONG).shared().acquire()).unwrap();
    let permit = place.wait(a.lock("gpu").ttl(LONG).permits(3).acquire()).unwrap();
    for lease in [shared, permit] {
        let error = lease.guard().unwrap_err();
        assert_eq!((error.kind(), lease.is_valid()), (Kind::Unsupported, true));
        assert!(error.to_string().contains("lease.fence()"), "{error}");
    }
    let group = place.wait(a.locks(["stock", "orders"]).acquire()).unwrap();
    let guard = group.guard().unwrap();
    place.write(&guard).unwrap();
    assert!(place.wait(b.break_lock("orders")).unwrap());
    assert!(place.write(&guard).unwrap_err().contains(LOST));
    place.wait(group.lost());
    assert_eq!(group.guard().unwrap_err().kind(), Kind::Lost);

    let term = place.wait(a.election("e").value("a").ttl(LONG).campaign()).unwrap();
    place.write(&term.guard().unwrap()).unwrap();
    place.wait(term.proclaim("b")).unwrap();
    place.write(&term.guard().unwrap()).unwrap();

    let lease = place.hold(&a, "t");
    let former = lease.guard().unwrap();
    let ticket = place.wait(lease.into_ticket()).unwrap();
    assert_eq!(lease.guard().unwrap_err().kind(), Kind::NotHeld);
    let adopted = place.wait(b.adopt(ticket.as_str())).unwrap();
    place.write(&adopted.guard().unwrap()).unwrap();
    assert!(place.write(&former).unwrap_err().contains(LOST));
}

#[test]
fn a_guard_has_nothing_that_a_driver_treats_and_names_any_lock() {
    let place = Place::with_work();
    let client = place.client();
    for name in ["a'b", "%s ?1 :x $1 {y} \\n @z", "é\"\u{1f512}--"] {
        let lease = place.hold(&client, name);
        let guard = lease.guard().unwrap();
        assert!(!guard.contains(['%', '?', ':', '$', '{', '\\', '@']), "{guard}");
        place.write(&guard).unwrap();
        place.write(&format!("SET sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES'; {guard}")).unwrap();
    }
    let other = place.client_of(&format!("{}&table=a:b", place.server.url()));
    let lease = place.hold(&other, "x");
    let error = lease.guard().unwrap_err();
    assert_eq!((error.kind(), lease.is_valid()), (Kind::Unsupported, true));
    assert!(error.to_string().contains("':'"), "{error}");
}
