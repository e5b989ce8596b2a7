//! What a guard does to others, and which leases have one.

use crate::dialect::LOST;
use crate::place::{LONG, Place, SECOND};
use crate::recipe;
use leasehold::{Kind, Loss};
use leasehold_tests::patience::{LIMIT, until};

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
    place.groups_terms_and_tickets_have_guards();
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
