//! Connections that break, hang or cannot be made, and the next ones.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::place::requests::{is_claim, is_renewal};
use crate::place::{LONG, PROMPT, Place, SECOND, assert_refused};
use leasehold::runtime::{BoxFuture, Runtime, ThreadRuntime};
use leasehold::time::{Clock, Instant};
use leasehold::{Kind, Options};
use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::processes::Process;
use leasehold_tests::proxy::{Fault, Proxy};
use leasehold_tests::servers::{Flavor, Settings};

#[test]
fn leases_and_waiters_survive_a_cut() {
    let place = Place::new();
    let proxy = Proxy::before(place.server.port());
    let (client, other) = (place.client_of(&proxy.url()), place.client_of(&proxy.url()));
    let lease = place.wait(client.lock("x").ttl(SECOND * 2).acquire()).unwrap();
    let fence = lease.fence();
    let waiter = place.stand_in_line(&other, "x");
    proxy.refuse(true);
    proxy.cut();
    // Longer than a renewal interval, shorter than what is left of the lease.
    place.pass(SECOND * 8 / 10);
    assert!(lease.is_valid());
    let before = proxy.connections();
    proxy.refuse(false);
    // Connected again and renewed without anybody asking for it.
    let renewed = until(LIMIT, || (lease.remaining() > SECOND * 15 / 10).then_some(()));
    renewed.expect("it is renewed again");
    assert!(proxy.connections() > before);
    let subscribed = || {
        let channels = place.server.command(&["PUBSUB", "CHANNELS", "leasehold:*"]);
        channels.as_list().unwrap().len() == 2
    };
    until(LIMIT, || subscribed().then_some(())).expect("both hear their channel again");
    place.pass(Duration::from_millis(100));
    assert_eq!((lease.fence(), lease.loss()), (fence, None));
    let (_, took) = place.hand_over(lease, waiter);
    assert!(took < PROMPT, "{took:?}");
}

#[test]
fn leases_and_waiters_survive_a_restart_that_loses_nothing() {
    for flavor in [Flavor::Redis, Flavor::Valkey] {
        let place = Place::on(Settings::default().flavor(flavor).appendonly());
        let (client, other) = (place.client(), place.client());
        let lease = place.wait(client.lock("x").ttl(SECOND * 3).acquire()).unwrap();
        let waiter = place.stand_in_line(&other, "x");
        for _ in 0..2 {
            place.server.kill();
            place.server.restart();
            until(LIMIT, || (place.connections() == 2).then_some(())).expect("both are back");
            until(LIMIT, || place.wait(lease.renew()).ok()).expect("it is renewed again");
        }
        assert_eq!(place.line("x"), 1);
        let (_, took) = place.hand_over(lease, waiter);
        assert!(took < PROMPT, "{took:?}");
    }
}

#[test]
fn a_waiter_survives_a_restart_that_loses_everything() {
    let place = Place::new();
    let (client, other) = (place.client(), place.client());
    let lease = place.wait(client.lock("x").ttl(SECOND).acquire()).unwrap();
    let waiter = place.stand_in_line(&other, "x");
    place.server.restart_empty();
    let (next, _) = place.granted(waiter);
    // Without quarantine that is all that can be promised.
    assert!(next.fence() > lease.fence());
}

#[test]
fn a_stopped_server_is_given_up_in_bounded_time_and_used_again() {
    let place = Place::new();
    let url = format!("{}?connect_timeout=1s&response_timeout=1s", place.server.url());
    let client = place.client_of(&url);
    let lease = place.hold(&client, "x");
    let waiter = place.stand_in_line(&place.client(), "x");
    place.server.freeze();
    for _ in 0..2 {
        let started = now();
        let error = place.wait(client.lock("other").try_acquire()).unwrap_err();
        assert_refused(&error, Kind::Unavailable, &["other", &place.server.url()]);
        assert!(started.elapsed() < SECOND * 7 / 2, "{:?}", started.elapsed());
    }
    let started = now();
    assert_refused(&place.no_client_of(&url), Kind::Unavailable, &["1s (connect_timeout)"]);
    assert!(started.elapsed() < SECOND * 4, "{:?}", started.elapsed());
    place.server.thaw();
    until(LIMIT, || place.wait(client.lock("other").try_acquire()).ok()).expect("it goes on");
    until(LIMIT, || place.wait(lease.renew()).ok()).expect("still held");
    let (_, took) = place.hand_over(lease, waiter);
    assert!(took < SECOND * 2, "{took:?}");
}

#[test]
fn a_client_that_did_not_run_reads_what_has_come_before_it_blames_the_server() {
    let place = Place::new();
    let proxy = Proxy::before(place.server.port());
    let url = format!("{}?response_timeout=400ms", proxy.url());
    let mut worker = Process::start(env!("CARGO_BIN_EXE_worker"), &["hold", &url, "4000"]);
    assert!(worker.line().starts_with("held "));
    let before = proxy.connections();
    // Which task of its runs first afterwards is chance.
    for _ in 0..6 {
        // It is stopped while it waits for an answer, which comes meanwhile.
        proxy.delay_replies(SECOND / 5);
        let renewed = proxy.next(is_renewal, Fault::Delay(Duration::ZERO));
        renewed.wait();
        worker.stop();
        place.pass(SECOND * 6 / 10);
        worker.signal(rustix::process::Signal::CONT);
        proxy.delay_replies(Duration::ZERO);
        assert_eq!(worker.ask("valid"), "true");
    }
    proxy.next(is_renewal, Fault::Delay(Duration::ZERO)).wait();
    assert_eq!(proxy.connections(), before, "the server was blamed");
}

#[test]
fn a_client_whose_thread_is_busy_does_not_blame_the_server() {
    let place = Place::new();
    let proxy = Proxy::before(place.server.port());
    let url = format!("{}?response_timeout=200ms", proxy.url());
    let busy = ThreadRuntime::start().unwrap();
    let client = place.wait(Options::new().runtime(busy.clone()).connect(&url)).unwrap();
    let before = proxy.connections();
    proxy.delay_replies(SECOND / 20);
    let asked = proxy.next(is_claim, Fault::Delay(Duration::ZERO));
    let waiter = place.queue(client.lock("x").ttl(LONG));
    asked.wait();
    // Nothing else is done there for longer than any answer may take.
    busy.spawn(Box::pin(async {
        let end = now() + SECOND;
        while now() < end {
            std::hint::spin_loop();
        }
    }));
    place.granted(waiter);
    assert_eq!(proxy.connections(), before, "the server was blamed");
}

#[test]
fn attempts_to_connect_back_off_however_many_wait() {
    let place = Place::new();
    let proxy = Proxy::before(place.server.port());
    let client = place.client_of(&proxy.url());
    let holder = place.client();
    let held: Vec<_> = (0..50).map(|name| place.hold(&holder, &name.to_string())).collect();
    let names = 0..held.len();
    let waiters: Vec<_> =
        names.map(|name| place.queue(client.lock(name.to_string()).ttl(LONG))).collect();
    until(LIMIT, || (place.line("49") == 1).then_some(())).expect("they wait");
    proxy.refuse(true);
    proxy.cut();
    let before = proxy.connections();
    place.pass(SECOND * 3);
    let tried = proxy.connections() - before;
    assert!((4..30).contains(&tried), "{tried} attempts in 3 s");
    proxy.refuse(false);
    for (lease, waiter) in held.into_iter().zip(waiters) {
        place.wait(lease.release()).unwrap();
        place.granted(waiter);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_connection_asks_by_itself_whether_the_other_side_is_still_there() {
    let place = Place::new();
    let _client = place.client();
    let port = format!(":{:04X}", place.server.port());
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    // Columns: number, our address, theirs, state (01: established), queues,
    // timer (02: keepalive) and when it ends.
    let columns = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let timers: Vec<_> = columns
        .filter(|columns| columns[2].ends_with(&port) && columns[3] == "01")
        .map(|columns| columns[5].to_owned())
        .collect();
    let is_kept = |timer: &String| timer.starts_with("02:");
    assert!(timers.iter().any(is_kept), "{timers:?}");
}

/// A runtime with a bug that shows once.
struct Panics(std::sync::Arc<ThreadRuntime>, AtomicBool);

impl Clock for Panics {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn wall_micros(&self) -> u64 {
        self.0.wall_micros()
    }
}

impl Runtime for Panics {
    fn sleep(&self, span: Duration) -> BoxFuture {
        self.0.sleep(span)
    }

    fn spawn(&self, task: BoxFuture) {
        self.0.spawn(task);
    }

    fn random(&self) -> u128 {
        assert!(self.1.swap(true, Ordering::SeqCst), "a bug");
        self.0.random()
    }
}

#[test]
fn a_panic_while_connecting_is_an_error_and_the_next_attempt_begins_anew() {
    let place = Place::new();
    let runtime = Panics(ThreadRuntime::start().unwrap(), AtomicBool::new(false));
    let options = leasehold::Options::new().runtime(std::sync::Arc::new(runtime));
    let client = options.client(&place.server.url()).unwrap();
    let error = place.wait(client.connect()).unwrap_err();
    assert_refused(&error, Kind::Internal, &["panicked"]);
    assert!(place.hold(&client, "x").is_valid());
}
