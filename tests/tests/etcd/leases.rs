//! What a lease is in etcd: its key, its session, its end.

use crate::place::{LONG, PROMPT, Place, SECOND};
use leasehold::{Kind, Loss, Outcome};
use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::servers::EtcdSettings;

#[test]
fn keys_tell_who_holds_who_waits_and_since_when() {
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    let holder = place.wait(a.lock("invoices/42").ttl(LONG).label("charging").acquire()).unwrap();
    let waiter = place.stand_in_line(&b, "invoices/42");
    let keys = place.keys();
    let (first, second) = (&keys[0], &keys[1]);
    assert!(keys.iter().all(|(key, _)| key.starts_with("leasehold/invoices/42/#")), "{keys:?}");
    assert!(keys.iter().any(|(key, _)| Some(key) == holder.key().as_ref()), "{keys:?}");
    let said = format!("{} {}", first.1, second.1);
    for word in [" charging, held since 20", ", waits since 20", &std::process::id().to_string()] {
        assert!(said.contains(word), "{word} in {said}");
    }
    let (next, _) = place.hand_over(holder, waiter);
    // When it is renewed for its whole ttl, its key is moved and says so.
    let says_held = || place.keys()[0].1.contains("held since").then_some(());
    assert!(until(LIMIT, says_held).is_some(), "{:?}", place.keys());
    assert_eq!(Some(place.only_key()), next.key());
    place.wait(next.release()).unwrap();
    assert_eq!(place.keys(), []);
}

#[test]
fn the_fence_is_the_revision_that_created_the_key() {
    let place = Place::new();
    let client = place.client();
    place.cluster.ctl(&["put", "invoices/42", "open"]);
    let lease = place.hold(&client, "x");
    let pay = |fence: u64| {
        let key = lease.key().unwrap();
        let txn = format!("create(\"{key}\") = \"{fence}\"\n\nput invoices/42 paid-{fence}\n\n\n");
        place.cluster.ctl_with_input(&["txn"], &txn).starts_with("SUCCESS")
    };
    assert!(!pay(lease.fence() - 1) && !pay(lease.fence() + 1));
    assert!(pay(lease.fence()));
    assert!(place.wait(place.client().break_lock("x")).unwrap());
    let next = place.hold(&client, "x");
    assert!(next.fence() > lease.fence());
    assert!(!pay(lease.fence()) && !pay(next.fence()), "it is not held any more");
    let paid = place.cluster.ctl(&["get", "invoices/42", "--print-value-only"]);
    assert_eq!(paid.trim(), format!("paid-{}", lease.fence()));
}

#[test]
fn locks_of_a_ttl_are_kept_alive_together() {
    let place = Place::new();
    let client = place.client();
    let lock = |number: u32| client.lock(format!("x{number}")).ttl(6 * SECOND);
    let leases: Vec<_> = (0..300).map(|n| place.wait(lock(n).acquire()).unwrap()).collect();
    let calls = |method: &str| place.cluster.calls().get(method).copied().unwrap_or(0);
    // One at first for the shortest ttl, and one for these.
    assert_eq!(calls("LeaseGrant"), 2);
    let before = calls("LeaseKeepAlive");
    // Three thirds of the ttl.
    place.pass(6 * SECOND);
    let kept_alive = calls("LeaseKeepAlive") - before;
    assert!((2..=6).contains(&kept_alive), "{kept_alive} keep-alives");
    assert!(leases.iter().all(leasehold::Lease::is_valid));
}

#[test]
fn what_is_not_renewed_ends_with_its_ttl_while_others_are_kept_alive() {
    let place = Place::new();
    let (client, other) = (place.client(), place.client());
    let renewed = place.wait(client.lock("renewed").ttl(2 * SECOND).acquire()).unwrap();
    let once = client.lock("once").ttl(2 * SECOND).auto_renew(false);
    let once = place.wait(once.acquire()).unwrap();
    let taken = now();
    // Nobody polls or drops it: it is the cluster that ends it.
    let key = once.key().unwrap();
    assert_eq!(place.wait(once.lost()), Loss::Expired);
    assert!(taken.elapsed() < 2 * SECOND);
    let next = place.wait(other.lock("once").acquire()).unwrap();
    assert!(next.fence() > once.fence());
    assert!(place.keys().iter().all(|(there, _)| *there != key));
    assert!(renewed.is_valid());
}

#[test]
fn a_lock_that_is_not_renewed_outlives_neither_its_client_nor_its_ttl() {
    let place = Place::new();
    let client = place.client();
    let once = client.lock("once").ttl(4 * SECOND).auto_renew(false);
    let once = place.wait(once.acquire()).unwrap();
    // It has an etcd lease of its own.
    let has_own = || place.cluster.calls().get("LeaseGrant").is_some_and(|n| *n == 2).then_some(());
    assert!(until(LIMIT, has_own).is_some());
    place.wait(once.renew()).unwrap();
    assert!(once.remaining() > 3 * SECOND, "{:?}", once.remaining());
    place.wait(once.release()).unwrap();
    assert_eq!(place.keys(), []);
    // The one that showed the shortest ttl is left, for a while.
    let leases = || place.cluster.ctl(&["lease", "list"]);
    assert!(until(LIMIT, || leases().contains("found 0").then_some(())).is_some(), "{}", leases());
}

#[test]
fn a_lease_begins_with_its_ttl_and_outlives_a_silence() {
    let ttl = 30 * SECOND;
    let place = Place::new();
    let (a, b) = (place.client(), place.client());
    for auto_renew in [true, false] {
        let lock = |client: &leasehold::Client| client.lock("x").ttl(ttl).auto_renew(auto_renew);
        let lease = place.wait(lock(&a).acquire()).unwrap();
        let waiter = place.queue(lock(&b));
        let stands = || (place.keys().len() == 2).then_some(());
        assert!(until(LIMIT, stands).is_some(), "{:?}", place.keys());
        // Its key stands in a session of two seconds all that time.
        place.pass(3 * SECOND);
        let (next, _) = place.hand_over(lease, waiter);
        place.cluster.freeze(0);
        // The session that others share may have a third of its time behind it.
        let least = if auto_renew { ttl * 6 / 10 } else { ttl * 9 / 10 };
        assert!(next.remaining() > least, "{auto_renew}: {:?}", next.remaining());
        place.pass(SECOND * 27 / 10);
        place.cluster.thaw(0);
        assert!(next.is_valid(), "{auto_renew}: {:?}", next.loss());
        place.wait(next.renew()).unwrap();
        place.wait(next.release()).unwrap();
    }
}

#[test]
fn a_key_that_is_deleted_is_a_lost_lease() {
    let place = Place::new();
    let client = place.client();
    let lease = place.wait(client.lock("x").ttl(3 * SECOND).acquire()).unwrap();
    place.cluster.ctl(&["del", &place.only_key()]);
    let deleted = now();
    assert_eq!(place.wait(lease.lost()), Loss::Gone);
    assert!(deleted.elapsed() < 3 * SECOND / 2, "{:?}", deleted.elapsed());
    assert!(place.hold(&client, "x").fence() > lease.fence());
}

#[test]
fn a_lease_that_is_broken_is_lost_at_once() {
    let place = Place::new();
    let lease = place.hold(&place.client(), "x");
    let broken = now();
    assert!(place.wait(place.client().break_lock("x")).unwrap());
    assert_eq!(place.wait(lease.lost()), Loss::Gone);
    assert!(broken.elapsed() < PROMPT, "{:?}", broken.elapsed());
}

#[test]
fn a_session_that_ends_is_the_loss_of_all_its_locks_and_of_no_others() {
    let place = Place::new();
    let client = place.client();
    let lock = |name: &str, ttl| place.wait(client.lock(name).ttl(ttl).acquire()).unwrap();
    let (a, b, other) = (lock("a", LONG), lock("b", LONG), lock("c", 2 * LONG));
    let sessions = place.cluster.ctl(&["get", &a.key().unwrap(), "-w", "fields"]);
    let session = sessions.lines().find_map(|line| line.strip_prefix("\"Lease\" : ")).unwrap();
    let session: i64 = session.parse().unwrap();
    place.cluster.ctl(&["lease", "revoke", &format!("{session:x}")]);
    assert_eq!(place.wait(a.renew()).unwrap_err().kind(), Kind::Lost);
    assert_eq!(place.wait(b.lost()), Loss::Gone);
    place.wait(other.renew()).unwrap();
    // The next has a new session.
    assert!(lock("a", LONG).fence() > a.fence());
}

#[test]
fn a_ttl_that_etcd_cannot_count_is_raised_openly() {
    let ttl = |place: &Place, millis| {
        let ttl = std::time::Duration::from_millis(millis);
        let lease = place.wait(place.client().lock("x").ttl(ttl).acquire()).unwrap();
        assert!(lease.remaining() < lease.ttl());
        assert!(lease.remaining() > lease.ttl() * 9 / 10, "{lease:?}");
        lease.ttl()
    };
    let place = Place::new();
    assert_eq!([100, 1000, 1001].map(|millis| ttl(&place, millis)), [1, 1, 2].map(|n| n * SECOND));
    let usual = Place::on(EtcdSettings::default());
    assert_eq!([100, 2000, 2500].map(|millis| ttl(&usual, millis)), [2, 2, 3].map(|n| n * SECOND));
}

#[test]
fn a_lease_has_one_ttl_and_its_delay_in_etcd_is_not_used_here() {
    let place = Place::new();
    let (client, other) = (place.client(), place.client());
    let lock = client.lock("x").ttl(10 * SECOND).delay(50 * SECOND).auto_renew(false);
    let lease = place.wait(lock.acquire()).unwrap();
    let status = place.wait(other.status("x")).unwrap().unwrap();
    let free_in = status.holder().unwrap().free_in;
    assert!(free_in > 55 * SECOND && lease.remaining() <= 10 * SECOND, "{free_in:?}");
    assert_eq!(lease.ttl(), 10 * SECOND);
    place.wait(lease.renew_for(10 * SECOND)).unwrap();
    place.wait(lease.renew()).unwrap();
    let error = place.wait(lease.renew_for(30 * SECOND)).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Unsupported, Outcome::Held), "{error}");
    place.wait(lease.renew()).unwrap();
    place.wait(lease.release()).unwrap();
    // One that is in a session which is old already begins with two thirds of its ttl.
    let lock = client.lock("x").ttl(3 * SECOND).delay(57 * SECOND);
    let first = place.wait(lock.acquire()).unwrap();
    place.pass(3 * SECOND / 2);
    let second = place.wait(client.lock("y").ttl(3 * SECOND).delay(57 * SECOND).acquire()).unwrap();
    assert!(second.remaining() > 9 * SECOND / 5, "{:?}", second.remaining());
    place.pass(3 * SECOND);
    assert!(first.is_valid() && second.is_valid());
}
