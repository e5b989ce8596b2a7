//! Getting to a server and staying there: addresses, encryption, passwords,
//! and connections that break.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::place::requests::{is_claim, is_renewal};
use crate::place::{LONG, PROMPT, Place, SECOND};
use leasehold::runtime::{BoxFuture, Runtime, ThreadRuntime};
use leasehold::time::{Clock, Instant};
use leasehold::{Client, Error, Kind, Options};
use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::processes::Process;
use leasehold_tests::proxy::{Fault, Proxy};
use leasehold_tests::servers::{Connection, Flavor, Settings};

/// It holds, waits and is handed a lock by a message.
#[track_caller]
fn assert_works(place: &Place, client: &Client, other: &Client) {
    let lease = place.hold(other, "x");
    assert!(place.try_hold(client, "x").is_none());
    let waiter = place.queue(client.lock("x").ttl(LONG));
    let waits = || place.wait(other.status("x")).unwrap().unwrap().waiters.len() == 1;
    until(LIMIT, || waits().then_some(())).unwrap();
    let (lease, took) = place.hand_over(lease, waiter);
    assert!(took < PROMPT, "{took:?}");
    place.wait(lease.renew()).unwrap();
    place.wait(lease.release()).unwrap();
    assert!(place.wait(client.list()).unwrap().is_empty());
}

#[track_caller]
fn assert_refused(error: &Error, kind: Kind, words: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word} is not in {error}");
    }
}

#[test]
fn a_server_is_reached_by_tls_with_its_authority() {
    let place = Place::on(Settings::default().tls());
    let ca = place.server.ca_path();
    let by_name = format!("{}?ca={}", place.server.tls_url(), ca.display());
    let client = place.client_of(&by_name);
    let by_number = by_name.replace("localhost", "127.0.0.1");
    assert_works(&place, &client, &place.client_of(&by_number));
}

#[test]
fn a_client_connects_anew_in_a_forked_child() {
    let place = Place::new();
    let mut worker = Process::start(env!("CARGO_BIN_EXE_worker"), &["fork", &place.server.url()]);
    assert_eq!(worker.line(), "valid true renewed Ok(())");
    assert!(worker.rest().1);
}

#[test]
fn nobody_waits_for_one_who_began_to_connect_and_stands_still() {
    let place = Place::new();
    let client = leasehold::Options::new().client(&place.server.url()).unwrap();
    let mut stuck = std::pin::pin!(client.connect());
    let waker = std::task::Waker::noop();
    // It has begun, and is not polled again.
    assert!(stuck.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending());
    let lease = place.wait(client.lock("x").wait(LIMIT).acquire()).unwrap();
    assert!(lease.is_valid());
}

#[test]
fn a_server_that_does_not_answer_is_not_connected_to_again_when_the_wait_is_over() {
    let place = Place::new();
    let proxy = Proxy::before(place.server.port());
    proxy.stall_downstream(true);
    let url = format!("{}?connect_timeout=1s", proxy.url());
    let client = leasehold::Options::new().client(&url).unwrap();
    let began = now();
    let error = place.wait(client.lock("x").wait(SECOND / 5).acquire()).unwrap_err();
    assert_refused(&error, Kind::Unavailable, &[]);
    assert!(began.elapsed() < SECOND * 5, "one attempt: {:?}", began.elapsed());
    proxy.stall_downstream(false);
    place.wait(client.lock("x").acquire()).unwrap();
}

#[test]
fn an_untrusted_certificate_is_refused() {
    let (place, stranger) =
        (Place::on(Settings::default().tls()), Settings::default().tls().start());
    let url = place.server.tls_url();
    let foreign = format!("{url}?ca={}", stranger.ca_path().display());
    for url in [&url, &foreign] {
        let error = place.no_client_of(url);
        assert_refused(&error, Kind::Refused, &["?ca=FILE", "ertificate", &place.server.tls_url()]);
    }
    let missing = place.no_client_of(&format!("{url}?ca=/nowhere.pem"));
    assert_refused(&missing, Kind::Invalid, &["/nowhere.pem"]);
    let key = place.server.ca_path().with_file_name("tls.key");
    let empty = place.no_client_of(&format!("{url}?ca={}", key.display()));
    assert_refused(&empty, Kind::Invalid, &["tls.key", "?ca=FILE"]);
}

#[test]
fn tls_and_plain_text_do_not_hang_on_each_other() {
    let place = Place::on(Settings::default().tls());
    let plain_to_tls = format!("redis://127.0.0.1:{}?connect_timeout=1s", place.server.tls_port());
    let ca = place.server.ca_path();
    let tls_to_plain = format!(
        "rediss://127.0.0.1:{}?connect_timeout=1s&ca={}",
        place.server.port(),
        ca.display()
    );
    for url in [plain_to_tls, tls_to_plain] {
        let started = now();
        assert_refused(&place.no_client_of(&url), Kind::Unavailable, &["127.0.0.1"]);
        assert!(started.elapsed() < SECOND * 4, "{:?}", started.elapsed());
    }
}

#[test]
fn a_server_is_reached_by_its_socket() {
    let place = Place::on(Settings::default().unix_socket().password("open-sesame"));
    let path = place.server.unix_path();
    let url = |query: &str| format!("redis+unix://{}?pass=open-sesame{query}", path.display());
    assert_works(&place, &place.client_of(&url("")), &place.client_of(&url("")));
    let second = place.client_of(&url("&db=2"));
    let lease = place.hold(&second, "x");
    assert!(place.server.info("keyspace").contains("db2:"));
    place.wait(lease.release()).unwrap();
    let missing = place.no_client_of("redis+unix:///nowhere/socket");
    assert_refused(&missing, Kind::Unavailable, &["/nowhere/socket", "is the server running"]);
}

#[test]
fn users_log_in_and_nobody_is_told_their_passwords() {
    const OPEN: [&str; 2] = ["open-sesame", "s3cret/p@ss"];
    let alice = "user alice on >s3cret/p@ss ~* &* +@all";
    for flavor in [Flavor::Redis, Flavor::Valkey] {
        let place = Place::on(Settings::default().flavor(flavor).password(OPEN[0]).acl(alice));
        let port = place.server.port();
        let url = |login: &str| format!("redis://{login}127.0.0.1:{port}");
        let default = place.client_of(&url(":open-sesame@"));
        let alice = place.client_of(&url("alice:s3cret%2Fp%40ss@"));
        assert_works(&place, &default, &alice);
        for client in [&default, &alice] {
            let shown = format!("{} {client:?}", client.backend());
            assert!(!OPEN.iter().any(|word| shown.contains(word)), "{shown}");
        }
        for (login, word) in [
            (":wrong-word@", "password"),
            ("alice:wrong-word@", "password"),
            ("bob:wrong-word@", "password"),
            ("", "redis://:password@host"),
        ] {
            let error = place.no_client_of(&url(login));
            assert_refused(&error, Kind::Refused, &[word, &format!("127.0.0.1:{port}")]);
            let said = format!("{error} {error:?}");
            assert!(!said.contains("wrong-word"), "{said}");
        }
    }
}

#[test]
fn keys_are_in_the_database_of_the_url() {
    let place = Place::new();
    let url = format!("{}/3", place.server.url());
    let (client, other) = (place.client_of(&url), place.client_of(&url));
    let lease = place.hold(&client, "x");
    assert!(place.try_hold(&other, "x").is_none());
    assert!(place.try_hold(&place.client(), "x").is_some(), "another database, another lock");
    let keyspace = place.server.info("keyspace");
    assert!(keyspace.contains("db3:keys=2,"), "{keyspace}");
    drop(lease);
}

#[test]
fn a_database_that_does_not_exist_is_the_fault_of_the_url() {
    let place = Place::new();
    let error = place.no_client_of(&format!("{}/99", place.server.url()));
    assert_refused(&error, Kind::Invalid, &["/99"]);
}

#[test]
fn a_server_without_resp3_gets_a_second_connection() {
    for password in [None, Some("open-sesame")] {
        let old = Settings::default().config("rename-command", "HELLO \"\"");
        let place = Place::on(match password {
            Some(password) => old.password(password),
            None => old,
        });
        let login = password.map_or(String::new(), |password| format!(":{password}@"));
        let url = format!("redis://{login}127.0.0.1:{}", place.server.port());
        let client = place.client_of(&url);
        assert_eq!(place.connections(), 2);
        assert_works(&place, &client, &place.client_of(&url));
        let in_database = place.client_of(&format!("{url}/3"));
        assert_works(&place, &in_database, &place.client_of(&format!("{url}/3")));
    }
}

#[test]
fn a_server_that_forgets_its_scripts_is_taught_them_again() {
    let place = Place::new();
    let (client, other) = (place.client(), place.client());
    for _ in 0..3 {
        let flush = || drop(place.server.command(&["SCRIPT", "FLUSH"]));
        flush();
        let lease = place.wait(client.lock("x").ttl(SECOND / 2).acquire()).unwrap();
        flush();
        place.wait(lease.renew()).unwrap();
        flush();
        place.pass(SECOND / 2);
        assert!(lease.is_valid(), "{:?}", lease.loss());
        flush();
        let waiter = place.stand_in_line(&other, "x");
        flush();
        let (lease, took) = place.hand_over(lease, waiter);
        assert!(took < PROMPT, "{took:?}");
        flush();
        assert_eq!(place.wait(other.list()).unwrap().len(), 1);
        flush();
        assert!(place.wait(other.break_lock("x")).unwrap());
        drop(lease);
    }
}

#[test]
fn scripts_that_are_forgotten_all_the_time_fail_nobody() {
    let place = Place::new();
    let client = place.client();
    let mut rig = Connection::open(place.server.port()).unwrap();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::SeqCst) {
                rig.ask(&["SCRIPT", "FLUSH"]).unwrap();
            }
        });
        let errors = (0..100).filter_map(|_| {
            let lease = place.wait(client.lock("x").acquire());
            lease.and_then(|lease| place.wait(lease.release())).err()
        });
        let errors: Vec<Error> = errors.collect();
        is_done.store(true, Ordering::SeqCst);
        assert!(errors.is_empty(), "{} of 100, as {:?}", errors.len(), errors[0]);
    });
}

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
    let mut worker = Process::start(env!("CARGO_BIN_EXE_worker"), &["hold", &url, "6000"]);
    assert!(worker.line().starts_with("held "));
    let before = proxy.connections();
    for _ in 0..2 {
        // It is stopped while it waits for an answer, which comes meanwhile.
        proxy.delay_replies(SECOND / 5);
        let renewed = proxy.next(is_renewal, Fault::Delay(Duration::ZERO));
        renewed.wait();
        worker.stop();
        place.pass(SECOND * 3 / 2);
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
