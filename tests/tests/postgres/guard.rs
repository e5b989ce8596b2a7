//! What a guard in a user's own transaction promises.

use crate::place::{LONG, Place, SECOND};
use crate::recipe;
use leasehold::{Kind, Lease, Loss};
use leasehold_tests::patience::{LIMIT, until};

/// What the guard of a lost lease says.
const LOST: &str = "the lease is lost, so this transaction must not commit";

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
    let lease = place.wait(a.lock("x").ttl(2 * SECOND).acquire()).unwrap();
    let mut work = place.server.talk();
    work.say("BEGIN");
    assert_eq!(work.say(&lease.guard().unwrap()), "1");
    place.wait(lease.renew()).unwrap();
    place.wait(lease.release()).unwrap();
    // It is free, and nobody gets it: not who tries, nor who shares, nor who waits.
    assert!(place.try_hold(&b, "x").is_none());
    assert!(place.wait(b.lock("x").shared().try_acquire()).unwrap().is_none());
    let waiter = place.stand_in_line(&b, "x");
    place.pass(SECOND);
    assert!(!waiter.is_finished());
    work.say("COMMIT");
    assert!(place.granted(waiter).0.fence() > lease.fence());
}

#[test]
fn a_guard_outlasts_the_ttl_of_its_lease() {
    let place = Place::new();
    let (client, other) = (place.client(), place.client());
    for end in ["COMMIT", "ROLLBACK"] {
        let lock = client.lock(end).ttl(SECOND).auto_renew(false);
        let lease = place.wait(lock.acquire()).unwrap();
        let mut work = place.server.talk();
        work.say("BEGIN");
        assert_eq!(work.say(&lease.guard().unwrap()), "1");
        assert_eq!(place.wait(lease.lost()), Loss::Expired);
        assert_eq!(lease.guard().unwrap_err().kind(), Kind::Lost);
        place.pass(SECOND);
        assert!(place.try_hold(&other, end).is_none());
        work.say(end);
        assert!(place.try_hold(&other, end).is_some());
    }
}

#[test]
fn what_expired_is_guarded_until_somebody_takes_it() {
    let place = Place::with_work();
    let lock = place.client().lock("x").ttl(LONG).auto_renew(false);
    let lease = place.wait(lock.acquire()).unwrap();
    let guard = lease.guard().unwrap();
    // As if the clock of the server had been put forward.
    place.server.sql(
        "UPDATE leasehold SET expires = clock_timestamp() - interval '1 second' WHERE name = 'x'",
    );
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
    for (level, said) in
        [("READ COMMITTED", LOST), ("REPEATABLE READ", "serialize"), ("SERIALIZABLE", "serialize")]
    {
        let lease = place.hold(&client, level);
        let guard = lease.guard().unwrap();
        let mut other = place.server.talk();
        other.say("BEGIN");
        other.say(&format!("SELECT FROM leasehold WHERE name = '{level}' FOR UPDATE"));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| {
                let begin = format!("SET TRANSACTION ISOLATION LEVEL {level}; SELECT 1");
                place.server.try_sql(&format!(
                    "BEGIN; {begin}; INSERT INTO work VALUES ('x'); {guard}; COMMIT"
                ))
            });
            let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
            let stands = until(LIMIT, || (place.server.sql(waiting) == "1").then_some(()));
            assert!(stands.is_some(), "the guard does not wait");
            let take = "version = version + 1, fence = fence + 1, owner = 'another'";
            other.say(&format!("UPDATE leasehold SET {take} WHERE name = '{level}'"));
            other.say("COMMIT");
            let error = waits.join().unwrap().unwrap_err();
            assert!(error.contains(said), "{level}: {error}");
        });
        // What was read before the takeover does not help.
        let mut late = place.server.talk();
        late.say(&format!("BEGIN ISOLATION LEVEL {level}"));
        late.say("SELECT FROM leasehold");
        assert_eq!(late.say(&guard), "");
    }
    assert_eq!(place.written(), "0");
}

#[test]
fn shared_leases_permits_groups_terms_and_tickets_have_guards() {
    let place = Place::with_work();
    let (a, b) = (place.client(), place.client());
    let shared = place.wait(a.lock("config").ttl(LONG).shared().acquire()).unwrap();
    let also = place.wait(b.lock("config").ttl(LONG).shared().acquire()).unwrap();
    let permit = place.wait(a.lock("gpu").ttl(LONG).permits(3).acquire()).unwrap();
    let next = place.wait(b.lock("gpu").ttl(LONG).permits(3).acquire()).unwrap();
    for lease in [&shared, &also, &permit, &next] {
        let guard = lease.guard().unwrap();
        place.write(&guard).unwrap();
        let mut work = place.server.talk();
        work.say("BEGIN");
        assert_eq!(work.say(&guard), "1");
        place.wait(lease.renew()).unwrap();
        if lease.name() == "gpu" {
            let third = b.lock("gpu").permits(3);
            assert!(place.wait(third.try_acquire()).unwrap().is_none());
        }
        work.say("COMMIT");
        place.wait(lease.release()).unwrap();
        assert!(place.write(&guard).unwrap_err().contains(LOST), "{}", lease.name());
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
    }
    let other = place.client_of(&format!("{}&table=a:b", place.server.url()));
    let lease = place.hold(&other, "x");
    let error = lease.guard().unwrap_err();
    assert_eq!((error.kind(), lease.is_valid()), (Kind::Unsupported, true));
    assert!(error.to_string().contains("':'"), "{error}");
}

#[test]
fn a_user_who_may_read_and_update_the_table_can_guard() {
    let place = Place::new();
    let lease = place.hold(&place.client(), "x");
    place.server.sql("CREATE ROLE app; GRANT SELECT ON leasehold TO app");
    let guard = format!("SET ROLE app; {}", lease.guard().unwrap());
    assert!(place.server.try_sql(&guard).unwrap_err().contains("permission denied"));
    place.server.sql("GRANT UPDATE (name) ON leasehold TO app");
    assert_eq!(place.server.sql(&guard), "1");
}

#[test]
fn the_recipe_writes_while_the_lease_is_held_and_not_after() {
    let recipe = include_str!("recipe.rs").split_once("\n\n").unwrap().1;
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/database-guard.md");
    assert!(std::fs::read_to_string(guide).unwrap().contains(recipe));
    let place = Place::new();
    place.server.sql("CREATE TABLE accounts (id int, balance int)");
    place.server.sql("INSERT INTO accounts VALUES (1, 100)");
    let lease = place.hold(&place.client(), "x");
    place.wait(async {
        let address = ("127.0.0.1", place.server.port());
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let mut config = tokio_postgres::Config::new();
        config.user("rig").dbname("postgres");
        let (mut client, connection) =
            config.connect_raw(stream, tokio_postgres::NoTls).await.unwrap();
        place.spawn(connection);
        recipe::charge(&mut client, &lease).await.unwrap();
        lease.release().await.unwrap();
        recipe::charge(&mut client, &lease).await.unwrap_err();
    });
    assert_eq!(place.server.sql("SELECT balance FROM accounts"), "90");
}
