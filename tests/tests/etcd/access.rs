//! Who is let in, by what, and what versions tell.

use std::path::Path;

use crate::place::{Place, SECOND};
use leasehold::Kind;
use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::servers::{EtcdSettings, EtcdVersion};

fn with_login(place: &Place, login: &str) -> String {
    place.cluster.url().replace("://", &format!("://{login}@"))
}

#[test]
fn a_user_needs_the_right_password_and_the_prefix() {
    let place = Place::on(EtcdSettings::default().fast_elections().user("ann", "p@ss:,/"));
    let login = "ann:p%40ss%3A%2C%2F";
    let client = place.client_of(&with_login(&place, login));
    let lease = place.hold(&client, "x");
    assert!(place.wait(client.list()).unwrap().len() == 1);
    place.wait(lease.release()).unwrap();
    for (url, words) in [
        (with_login(&place, "ann:wrong"), ["password", "authentication failed"]),
        (with_login(&place, "bob:x"), ["password", "authentication failed"]),
        (place.cluster.url(), ["etcd://user:password@host", "user name is empty"]),
    ] {
        let error = place.no_client_of(&url);
        assert_eq!(error.kind(), Kind::Refused, "{error}");
        for word in words {
            assert!(error.to_string().contains(word), "{word}: {error}");
        }
        assert!(!error.to_string().contains("wrong"), "{error}");
    }
    let elsewhere = format!("{}?prefix=other/", with_login(&place, login));
    let error = place.no_client_of(&elsewhere);
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("grant-permission"), "{error}");
}

#[test]
fn a_login_that_lapses_is_made_again() {
    let settings = EtcdSettings::default().fast_elections().user("ann", "secret").token_ttl(1);
    let place = Place::on(settings);
    let client = place.client_of(&with_login(&place, "ann:secret"));
    let lease = place.hold(&client, "x");
    for _ in 0..2 {
        place.pass(SECOND * 5 / 2);
        assert!(place.try_hold(&client, "y").is_some());
        place.wait(lease.renew()).unwrap();
    }
    let waiter = place.stand_in_line(&place.client_of(&with_login(&place, "ann:secret")), "x");
    place.hand_over(lease, waiter);
}

#[test]
fn users_that_come_later_are_asked_for() {
    let place = Place::new();
    let client = place.client_of(&with_login(&place, "ann:secret"));
    let lease = place.hold(&client, "x");
    for line in [
        "user add root --new-user-password root",
        "role add all",
        "role grant-permission all readwrite --prefix leasehold/",
        "user add ann --new-user-password secret",
        "user grant-role ann all",
        "auth enable",
    ] {
        place.cluster.ctl(&line.split(' ').collect::<Vec<_>>());
    }
    place.wait(lease.renew()).unwrap();
    place.wait(lease.release()).unwrap();
}

#[test]
fn encryption_needs_the_right_certificates_on_both_sides() {
    let place = Place::on(EtcdSettings::default().fast_elections().tls());
    let (ours, strangers) = (place.cluster.client_files(), place.cluster.strangers_files());
    let url = |ca: &Path, identity: Option<(&Path, &Path)>| {
        let identity =
            identity.map(|(cert, key)| format!("&cert={}&key={}", cert.display(), key.display()));
        let ca = ca.display();
        format!("{}?ca={ca}{}", place.cluster.url(), identity.unwrap_or_default())
    };
    let client = place.client_of(&url(&ours.ca, Some((&ours.cert, &ours.key))));
    place.hold(&client, "x");
    let error = place.no_client_of(&url(&strangers.ca, Some((&ours.cert, &ours.key))));
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("?ca=FILE"), "{error}");
    for stranger in [None, Some((&*strangers.cert, &*strangers.key))] {
        let error = place.no_client_of(&url(&ours.ca, stranger));
        assert!(error.to_string().contains("cert=FILE"), "{error}");
    }
    let error = place.no_client_of(&url(Path::new("/nowhere"), None));
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    let error = place.no_client_of(&url(&ours.ca, Some((&ours.cert, &strangers.key))));
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    assert!(error.to_string().contains("do not fit"), "{error}");
    let plain = place.cluster.url().replace("etcds:", "etcd:");
    assert_eq!(place.no_client_of(&plain).kind(), Kind::Unavailable);
}

#[test]
fn an_old_version_tells_what_it_promises_less() {
    let caveats = |version| {
        let place = Place::on(EtcdSettings::default().version(version).fast_elections());
        place.client().caveats()
    };
    assert_eq!(caveats(EtcdVersion::New), [""; 0]);
    let old = caveats(EtcdVersion::Old);
    assert_eq!(old.len(), 2, "{old:?}");
    assert!(old[0].contains("3.4.23") && old[0].contains("fences"), "{old:?}");
    assert!(old[1].contains("kept alive"), "{old:?}");
}

#[test]
fn what_is_no_etcd_is_unavailable_and_says_so() {
    let place = Place::new();
    let dead = place.no_client_of("etcd://127.0.0.1:1");
    assert_eq!(dead.kind(), Kind::Unavailable, "{dead}");
    assert!(dead.to_string().contains("127.0.0.1:1"), "{dead}");
    let redis = leasehold_tests::servers::Settings::default().start();
    let wrong = place.no_client_of(&format!("etcd://127.0.0.1:{}", redis.port()));
    assert_eq!(wrong.kind(), Kind::Unavailable, "{wrong}");
}

#[test]
fn a_connection_that_is_silent_asks_whether_the_other_side_is_there() {
    let place = Place::new();
    let _client = place.client();
    // The timer of a socket: 02 is the one of keepalive.
    let ends = format!(":{:04X}", place.cluster.port(0));
    let has_timer = || {
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let mut fields = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let is_ours = |fields: &Vec<&str>| fields.len() > 5 && fields[2].ends_with(&ends);
        fields.any(|fields| is_ours(&fields) && fields[5].starts_with("02:")).then_some(())
    };
    assert!(until(LIMIT, has_timer).is_some());
}

#[test]
fn how_long_a_member_is_waited_for_is_set_in_the_url() {
    let place = Place::new();
    let client = place.client_of(&format!("{}?response_timeout=300ms", place.cluster.url()));
    assert!(place.try_hold(&client, "x").is_some());
    place.cluster.freeze(0);
    let asked = now();
    let error = place.wait(client.lock("y").ttl(60 * SECOND).try_acquire()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains("response_timeout"), "{error}");
    assert!(asked.elapsed() < 3 * SECOND, "{:?}", asked.elapsed());
    let url = format!("{}?connect_timeout=300ms", place.cluster.url());
    let asked = now();
    let error = place.no_client_of(&url);
    assert!(error.to_string().contains("connect_timeout"), "{error}");
    assert!(asked.elapsed() < 3 * SECOND, "{:?}", asked.elapsed());
    place.cluster.thaw(0);
}
