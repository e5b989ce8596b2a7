//! What other libraries get wrong when a lock is given back, on a real server.

use std::time::Duration;

use crate::place::records::{is_idle, records};
use crate::place::{Place, SECOND};
use leasehold::{Kind, Loss};
use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::processes::Process;
use leasehold_tests::proxy::Proxy;
use leasehold_tests::resp::Reply;
use leasehold_tests::world::cut_at;
use rustix::process::Signal;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// Far less than the ttl that would free it otherwise.
#[track_caller]
fn assert_free_promptly(place: &Place) {
    let free = until(SECOND * 2, || is_idle(&place.server).then_some(()));
    free.unwrap_or_else(|| panic!("{:#?}", records(&place.server)));
}

#[test]
fn a_dropped_lease_is_released_promptly() {
    let place = Place::new();
    let client = place.client();
    let lease = place.hold(&client, "x");
    drop(lease);
    assert_free_promptly(&place);
    // The lease is the last that has to do with the client.
    let lease = place.hold(&client, "x");
    drop(client);
    drop(lease);
    assert_free_promptly(&place);
    until(LIMIT, || (place.connections() == 0).then_some(())).expect("the client is gone");
}

#[test]
fn a_leaked_lease_ends_with_its_client() {
    let place = Place::new();
    let proxy = Proxy::before(place.server.port());
    let client = place.client_of(&proxy.url());
    let ttl = SECOND / 2;
    for name in ["a", "b"] {
        std::mem::forget(place.wait(client.lock(name).ttl(ttl).acquire()).unwrap());
    }
    let bounded = client.lock("bounded").ttl(ttl).max_hold(ttl);
    std::mem::forget(place.wait(bounded.acquire()).unwrap());
    let other = place.client();
    place.wait(other.lock("bounded").acquire()).unwrap();
    place.wait(client.close());
    assert_free_promptly(&place);
    let before = proxy.commands();
    place.pass(ttl * 2);
    assert_eq!(proxy.commands(), before, "somebody renews what nobody has");
}

#[test]
fn a_lease_of_a_dead_process_expires_within_its_ttl() {
    let place = Place::new();
    let ttl = SECOND;
    let mut holder = Process::start(WORKER, &["hold", &place.server.url(), "1000"]);
    assert!(holder.line().starts_with("held "));
    holder.signal(Signal::KILL);
    let killed = now();
    place.wait(place.client().lock("register").acquire()).unwrap();
    let took = killed.elapsed();
    assert!(took < ttl + SECOND, "{took:?}");
}

#[test]
fn what_the_work_came_to_survives_a_server_that_is_gone_at_the_release() {
    type Answer = Result<u32, String>;
    for answer in [Ok(42), Err("the user's own".to_owned())] {
        for (name, end) in [
            ("killed", (|place| place.server.kill()) as fn(&Place)),
            ("frozen", |place| place.server.freeze()),
        ] {
            let place = Place::new();
            let client = place.client();
            let lock = client.lock("x");
            let ended = std::cell::Cell::new(now());
            let result: Result<Answer, _> = place.wait(lock.run(async |_| {
                end(&place);
                ended.set(now());
                answer.clone()
            }));
            assert_eq!(result.unwrap(), answer, "{name}");
            let took = ended.get().elapsed();
            assert!(took < SECOND * 4, "{name}: only after {took:?}");
        }
    }
}

#[test]
fn a_release_says_that_it_could_not_be_confirmed() {
    let place = Place::new();
    let client = place.client();
    let lease = place.hold(&client, "x");
    place.server.kill();
    let error = place.wait(lease.release()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("in the background"), "{error}");
    assert!(!lease.is_valid());
}

#[test]
fn a_release_without_an_answer_is_repeated_until_it_is_done() {
    let place = Place::new();
    let proxy = Proxy::before(place.server.port());
    let client = place.client_of(&proxy.url());
    let lease = place.hold(&client, "x");
    proxy.refuse(true);
    proxy.cut();
    assert_eq!(place.wait(lease.release()).unwrap_err().kind(), Kind::Unavailable);
    assert!(!is_idle(&place.server));
    proxy.refuse(false);
    assert_free_promptly(&place);
}

#[test]
fn a_release_in_a_task_that_is_cancelled_still_releases() {
    let place = Place::new();
    let client = place.client();
    for polls in 0..3 {
        let lease = place.hold(&client, "x");
        assert!(!is_idle(&place.server));
        drop(place.wait(cut_at(polls, lease.release())));
        drop(lease);
        assert_free_promptly(&place);
    }
    // Nobody drops the lease here, only the release was begun.
    let lease = place.hold(&client, "x");
    drop(place.wait(cut_at(1, lease.release())));
    assert_free_promptly(&place);
}

#[test]
fn a_lease_in_a_task_that_is_aborted_or_whose_runtime_ends_is_released() {
    let place = Place::new();
    let client = place.client();
    let work = |name: &str| {
        let lock = client.lock(name);
        async move { lock.run(async |_| std::future::pending::<()>().await).await }
    };
    let until_held = |name: &str| {
        let held = || place.server.command(&["EXISTS", &format!("leasehold:{name}")]);
        until(LIMIT, || (held() == Reply::Int(1)).then_some(())).unwrap();
    };
    let task = place.spawn(work("aborted"));
    until_held("aborted");
    task.abort();
    assert_free_promptly(&place);

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.spawn(work("without a runtime"));
    until_held("without a runtime");
    runtime.shutdown_timeout(Duration::from_secs(1));
    assert_free_promptly(&place);

    let panics = client.lock("panics");
    let panicked = place.spawn(async move { panics.run(async |_| panic!("the user's own")).await });
    assert!(place.wait(panicked).unwrap_err().is_panic());
    assert_free_promptly(&place);
}

#[test]
fn a_closed_client_has_given_everything_back() {
    let place = Place::new();
    let (client, other) = (place.client(), place.client());
    let lease = place.hold(&client, "held");
    let _theirs = place.hold(&other, "waited for");
    let waiter = place.stand_in_line(&client, "waited for");
    place.wait(client.close());
    assert_eq!(place.server.command(&["EXISTS", "leasehold:held"]), Reply::Int(0));
    assert_eq!((lease.loss(), lease.is_valid()), (Some(Loss::Closed), false));
    assert_eq!(place.wait(waiter).unwrap().unwrap_err().kind(), Kind::Closed);
}

#[test]
fn a_closed_client_has_left_the_line_even_where_nobody_polls_its_waiter() {
    let place = Place::new();
    let (client, other) = (place.client(), place.client());
    let _theirs = place.hold(&other, "x");
    let lock = client.lock("x");
    let mut waiting = Box::pin(lock.acquire());
    place.wait(async {
        while place.line("x") == 0 {
            assert!(cut_at(1, &mut waiting).await.is_none());
        }
    });
    place.wait(client.close());
    assert_eq!(place.line("x"), 0);
    assert_eq!(place.wait(waiting).unwrap_err().kind(), Kind::Closed);
}
