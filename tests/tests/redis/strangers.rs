//! What other users of a server can do to our connections: nothing.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::place::{LONG, Place};
use leasehold::backend::GRANT_WINDOW;
use leasehold_tests::own_keys;
use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::resp::Reply;
use leasehold_tests::servers::{Connection, Settings};

/// The ids of the connections that clients of ours have now.
fn ids(place: &Place) -> Vec<String> {
    let list = place.server.command(&["CLIENT", "LIST"]);
    let ours = list.as_str().unwrap().lines().filter(|line| !line.contains("user=rig"));
    let id = |line: &str| line.strip_prefix("id=")?.split(' ').next().map(str::to_owned);
    ours.filter_map(id).collect()
}

/// Tell of every key that changes to connections that never asked for it.
fn track(place: &Place, ids: &[String]) -> Vec<Connection> {
    let follow = |id: &String| {
        let mut stranger = Connection::open(place.server.port()).unwrap();
        let tracking = ["CLIENT", "TRACKING", "ON", "REDIRECT", id, "BCAST"];
        assert_eq!(stranger.ask(&tracking).unwrap(), Reply::status("OK"));
        stranger
    };
    ids.iter().map(follow).collect()
}

#[test]
fn what_is_sent_to_our_connections_is_taken_for_no_answer_and_ends_none() {
    let old = Settings::default().config("rename-command", "HELLO \"\"");
    for settings in [Settings::default(), old] {
        let place = Place::on(settings);
        let (holder, client) = (place.client(), place.client());
        let held = place.hold(&holder, "held");
        let before = ids(&place);
        let _strangers = track(&place, &before);
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut noise = Connection::open(place.server.port()).unwrap();
                while !is_done.load(Ordering::SeqCst) {
                    noise.ask(&["MSET", "some", "1", "others", "2"]).unwrap();
                }
            });
            let (mut rounds, end) = (0, now() + LIMIT / 10);
            let failed = until(LIMIT, || {
                if now() > end && rounds > 100 {
                    return Some(Ok(()));
                }
                rounds += 1;
                let round = || {
                    if place.wait(client.lock("held").try_acquire())?.is_some() {
                        return Ok(Err("held twice"));
                    }
                    let free = place.wait(client.lock("free").ttl(LONG).try_acquire())?;
                    let Some(free) = free else { return Ok(Err("busy though free")) };
                    place.wait(free.release())?;
                    place.wait(held.renew())?;
                    Ok::<_, leasehold::Error>(Ok(()))
                };
                match round() {
                    Ok(Ok(())) => None,
                    Ok(Err(what)) => Some(Err(format!("{what} in round {rounds}"))),
                    Err(e) => Some(Err(format!("{e} in round {rounds}"))),
                }
            });
            is_done.store(true, Ordering::SeqCst);
            failed.expect("it goes on").unwrap();
        });
        let after = ids(&place);
        assert!(before.iter().all(|id| after.contains(id)), "{before:?} became {after:?}");
        place.wait(held.release()).unwrap();
    }
}

/// Who may read our keys and publish on our channels can pretend to hand a lock on. It
/// is believed for no longer than until its renewal, which comes at once.
#[test]
fn a_lock_that_a_stranger_hands_on_is_lost_at_once() {
    for renews in [true, false] {
        let place = Place::new();
        let (holder, client) = (place.client(), place.client());
        let held = place.hold(&holder, "x");
        let waiter = place.queue(client.lock("x").ttl(LONG).auto_renew(renews));
        until(LIMIT, || (place.line("x") == 1).then_some(())).unwrap();
        let line = own_keys::line(&place.server, "leasehold:x").unwrap();
        let owner = place.server.command(&["ZRANGE", &line, "0", "0"]);
        let owner = owner.as_list().unwrap()[0].as_str().unwrap().to_owned();
        let forged = format!("granted {owner} {} 1000000000 leasehold:x", held.fence() + 1);
        let channels = place.server.command(&["PUBSUB", "CHANNELS", "leasehold:*"]);
        for channel in channels.as_list().unwrap() {
            place.server.command(&["PUBLISH", channel.as_str().unwrap(), &forged]);
        }
        let (lease, _) = place.granted(waiter);
        assert!(lease.remaining() <= GRANT_WINDOW, "{lease:?}");
        assert_eq!(place.wait(lease.lost()), leasehold::Loss::Gone);
        assert!(held.is_valid());
    }
}
