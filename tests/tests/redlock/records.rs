//! What a lock leaves on the servers, and for how long.

use crate::place::{LONG, Place, SECOND, url_of};
use leasehold::{Client, Lock};
use leasehold_tests::patience::{LIMIT, until};
use leasehold_tests::resp::Reply;
use leasehold_tests::servers::{Server, Settings};
use leasehold_tests::world::cut_at;

/// Everything that can happen to a lock in a short time.
async fn be_busy(lock: Lock) {
    for round in 0..8 {
        match round % 4 {
            0 => drop(lock.acquire().await),
            1 => drop(lock.acquire().await.map(|lease| async move { lease.release().await })),
            2 => drop(cut_at(fastrand::u32(1..4), lock.acquire()).await),
            _ => std::mem::forget(lock.clone().auto_renew(false).try_acquire().await),
        }
    }
}

#[track_caller]
fn assert_each_has_an_end(server: &Server) {
    for key in server.keys() {
        let lives = server.command(&["PTTL", &key]);
        assert_ne!(lives, Reply::Int(-1), "{key:?} lives for ever");
    }
}

/// As `redis::records` has it, on three servers.
#[track_caller]
fn assert_lasts_and_ends(options: &str) {
    let place = Place::on(vec![Settings::default().shifted_clock(); 3]);
    let shift = |by: f64| place.servers.iter().for_each(|server| server.shift_clock(by));
    let url = url_of(&place.ports(), options);
    let clients: [Client; 2] = [(); 2].map(|()| place.client_of(&url));
    let held = clients[0].lock("held").ttl(LONG).label("for two days").auto_renew(false);
    let lease = place.wait(held.acquire()).unwrap();
    let waiter = place.stand_in_line(&clients[1], "held");
    // And one that nobody waits for.
    let alone = place.wait(clients[0].lock("alone").ttl(LONG).auto_renew(false).acquire()).unwrap();
    for round in 0..48 * 60 * 60 / 45 {
        shift(45.0);
        place.wait(lease.renew()).unwrap();
        place.wait(alone.renew()).unwrap();
        if round % 100 == 0 {
            let lock = |client: &Client| client.lock("busy").ttl(SECOND).wait(SECOND);
            let tasks = clients.each_ref().map(|client| place.spawn(be_busy(lock(client))));
            tasks.into_iter().for_each(|task| place.wait(task).unwrap());
            place.servers.iter().for_each(assert_each_has_an_end);
        }
    }
    place.servers.iter().for_each(assert_each_has_an_end);
    let status = place.wait(clients[1].list()).unwrap();
    let status = status.iter().find(|status| status.name.as_str() == "held").expect("it is held");
    assert!(status.holder().unwrap().label.contains("for two days"), "{status:?}");
    assert_eq!(status.fence, lease.fence());
    let (next, _) = place.hand_over(lease, waiter);
    place.wait(next.release()).unwrap();
    place.wait(alone.release()).unwrap();
    let left = |server: &Server| server.keys().iter().filter(|key| !key.ends_with("epoch")).count();
    // What is cleared away late is remembered from then on.
    let none_left = || {
        shift(30.0 * 60.0 * 60.0);
        place.servers.iter().all(|server| left(server) == 0).then_some(())
    };
    until(LIMIT, none_left).expect("nothing is left for good");
}

#[test]
fn however_long_a_lock_is_held_its_records_last_as_long_and_end() {
    assert_lasts_and_ends("max_ttl=2m");
}

#[test]
fn however_long_a_lock_is_held_its_records_last_as_long_and_end_with_a_short_memory() {
    assert_lasts_and_ends("max_ttl=2m&remember=1h");
}
