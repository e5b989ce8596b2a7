//! Who is let in, by what, and where.

use std::path::Path;

use crate::place::{LONG, Place, SECOND};
use leasehold::Kind;
use leasehold_tests::patience::{now, until};
use leasehold_tests::servers::{ZkClient, ZooKeeperSettings};

fn with_login(url: &str, login: &str) -> String {
    url.replace("://", &format!("://{login}@"))
}

/// `ann:p@ss:,/` as its servers keep it: SHA-1, in base 64.
const ANN: &str = "ann:iNVKnkJPe85T7KGcyu9wvVtpxlw=";

#[test]
fn a_user_has_nodes_that_others_cannot_use() {
    let place = Place::new();
    let login = with_login(&place.url(), "ann:p%40ss%3A%2C%2F");
    let (ann, again) = (place.client_of(&login), place.client_of(&login));
    let lease = place.hold(&ann, "x");
    let waiter = place.queue(again.lock("x").ttl(LONG));
    place.pass(SECOND / 5);
    let (next, _) = place.hand_over(lease, waiter);
    for url in [place.url(), with_login(&place.url(), "ann:wrong")] {
        let error = match place.wait(leasehold::connect(&url)) {
            Ok(client) => place.wait(client.lock("x").try_acquire()).unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.kind(), Kind::Refused, "{error}");
        assert!(!error.to_string().contains("wrong"), "{error}");
        assert!(error.to_string().contains(&place.chroot), "{error}");
    }
    place.wait(next.release()).unwrap();
}

#[test]
fn a_tree_that_belongs_to_a_user_needs_its_password() {
    let place = Place::new();
    place.rig().restrict(&place.chroot, ANN).unwrap();
    let login = with_login(&place.url(), "ann:p%40ss%3A%2C%2F");
    place.wait(place.hold(&place.client_of(&login), "x").release()).unwrap();
    let other = Place::new();
    other.rig().restrict(&other.chroot, ANN).unwrap();
    let error = match other.wait(leasehold::connect(&other.url())) {
        Ok(client) => other.wait(client.lock("x").try_acquire()).unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("zookeeper://"), "{error}");
}

#[test]
fn a_chroot_that_is_not_there_is_told_or_made() {
    let place = Place::new();
    let url = format!("{}/a/b", place.url());
    let client = place.client_of(&url);
    match place.wait(client.lock("x").ttl(LONG).try_acquire()) {
        Ok(lease) => drop(lease.unwrap()),
        Err(error) => {
            assert_eq!(error.kind(), Kind::Refused, "{error}");
            assert!(error.to_string().contains("/a/b"), "{error}");
        }
    }
}

#[test]
fn encryption_needs_the_right_authority() {
    let place = Place::on(ZooKeeperSettings::default().tls());
    let [ours, strangers] = place.ensemble.authorities();
    let at = format!("127.0.0.1:{}", place.ensemble.secure_port(0));
    let url = |ca: &Path| format!("zookeepers://{at}{}?ca={}", place.chroot, ca.display());
    let client = place.client_of(&url(&ours));
    place.wait(place.hold(&client, "x").release()).unwrap();
    let error = place.no_client_of(&url(&strangers));
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("ca=FILE"), "{error}");
    let plain = place.no_client_of(&format!("{}?connect_timeout=2s", place.url_by(&at)));
    assert_eq!(plain.kind(), Kind::Unavailable, "{plain}");
}

#[test]
fn what_is_no_zookeeper_is_unavailable_and_says_so() {
    let place = Place::new();
    let dead = place.no_client_of("zookeeper://127.0.0.1:1");
    assert_eq!(dead.kind(), Kind::Unavailable, "{dead}");
    assert!(dead.to_string().contains("127.0.0.1:1"), "{dead}");
    let redis = leasehold_tests::servers::Settings::default().start();
    let url = format!("zookeeper://127.0.0.1:{}?connect_timeout=1s", redis.port());
    let wrong = place.no_client_of(&url);
    assert_eq!(wrong.kind(), Kind::Unavailable, "{wrong}");
}

#[test]
fn how_long_a_server_is_waited_for_is_set_in_the_url() {
    let place = Place::on(ZooKeeperSettings::default());
    let client = place.client_of(&format!("{}?response_timeout=300ms", place.url()));
    assert!(place.try_hold(&client, "x").is_some());
    place.ensemble.freeze(0);
    let asked = now();
    let error = place.wait(client.lock("y").ttl(LONG).try_acquire()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(asked.elapsed() < 5 * SECOND, "{:?}", asked.elapsed());
    let asked = now();
    let error = place.no_client_of(&format!("{}?connect_timeout=300ms", place.url()));
    assert!(error.to_string().contains("connect_timeout"), "{error}");
    assert!(asked.elapsed() < 5 * SECOND, "{:?}", asked.elapsed());
    place.ensemble.thaw(0);
}

/// It would answer what it knows, and nothing new.
#[test]
fn a_server_that_only_reads_is_not_used() {
    let settings = ZooKeeperSettings::default().members(3).flag("-Dreadonlymode.enabled=true");
    let place = Place::on(settings);
    let client = place.client();
    place.wait(place.hold(&client, "x").release()).unwrap();
    place.ensemble.kill(1);
    place.ensemble.kill(2);
    let reads = || place.ensemble.ask(0, "srvr").is_some_and(|said| said.contains("read-only"));
    until(leasehold_tests::patience::LIMIT, || reads().then_some(())).expect("it only reads");
    assert!(ZkClient::connect(place.ensemble.port(0)).is_err());
    let error = place.no_client_of(&format!("{}?connect_timeout=1s", place.url()));
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    let error = place.wait(client.lock("x").wait(SECOND).acquire()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
}
