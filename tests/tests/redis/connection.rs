//! Getting to a server: addresses, encryption, passwords, and what it must know.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::place::{LONG, PROMPT, Place, SECOND, assert_refused};
use leasehold::{Client, Error, Kind};
use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::processes::Process;
use leasehold_tests::proxy::Proxy;
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
