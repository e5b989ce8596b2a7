//! The rig's ensembles of ZooKeeper: members that do as real ones, faults that happen.

use std::time::Duration;

use leasehold_tests::patience::{LIMIT, until};
use leasehold_tests::servers::{ZkClient, ZooKeeper, ZooKeeperSettings};

const SECOND: Duration = Duration::from_secs(1);

fn three() -> ZooKeeper {
    ZooKeeperSettings::default().members(3).start()
}

fn value(ensemble: &ZooKeeper, path: &str) -> Option<Vec<u8>> {
    let mut client = ensemble.client();
    client.sync().expect("an answer");
    client.get(path).expect("an answer").map(|node| node.data)
}

/// Another than this one leads.
fn another_leads(ensemble: &ZooKeeper, old: usize) -> usize {
    let other = until(LIMIT, || Some(ensemble.leader()).filter(|leader| *leader != old));
    other.expect("another leader")
}

#[test]
fn one_server_stores_counts_and_answers() {
    let server = ZooKeeper::start();
    assert_eq!(server.url(), format!("zookeeper://127.0.0.1:{}", server.port(0)));
    assert_eq!(server.leader(), 0);
    let mut client = server.client();
    let before = server.writes();
    client.put("/a/b", b"v").unwrap();
    // Two nodes, and a session of each look at who leads, opened and closed.
    let looks = 2;
    assert_eq!(server.writes() - before, 2 + looks);
    assert_eq!(client.get("/a/b").unwrap().unwrap().data, b"v");
    assert_eq!(client.get("/a/c").unwrap(), None);
    let first = client.stand("/a/n-", b"").unwrap();
    assert_eq!(first, "/a/n-0000000001");
    let node = client.get(&first).unwrap().unwrap();
    assert_eq!(node.owner, client.session());
    assert_eq!(client.below("").unwrap(), ["/a", "/a/b", "/a/n-0000000001"]);
    let pid = server.pid(0);
    server.restart(0);
    assert_ne!(server.pid(0), pid);
    assert_eq!(value(&server, "/a/b").unwrap(), b"v");
}

#[test]
fn a_session_can_be_taken_over_and_ended_by_its_number() {
    let server = ZooKeeper::start();
    let mut client = server.client();
    let path = client.stand("/x", b"").unwrap();
    let owner = server.client().get(&path).unwrap().unwrap().owner;
    let mut other = ZkClient::take_over(server.port(0), owner).unwrap();
    assert!(other.get(&path).unwrap().is_some());
    // Whoever had it is cut off.
    assert!(client.get(&path).is_err());
    other.close().unwrap();
    assert_eq!(value(&server, &path), None);
    assert!(ZkClient::take_over(server.port(0), owner).is_err());
}

#[test]
fn another_member_leads_when_the_leader_is_killed_or_frozen() {
    let ensemble = three();
    ensemble.client().put("/k", b"v").unwrap();
    let old = ensemble.leader();
    ensemble.kill(old);
    let next = another_leads(&ensemble, old);

    ensemble.client().put("/l", b"w").unwrap();
    ensemble.restart(old);

    ensemble.freeze(next);
    another_leads(&ensemble, next);

    assert_eq!(value(&ensemble, "/k").unwrap(), b"v");
    ensemble.thaw(next);
    ensemble.await_ready(next);

    assert_eq!(value(&ensemble, "/l").unwrap(), b"w");
}

#[test]
fn a_follower_that_is_parted_from_its_leader_talks_and_knows_nothing_new() {
    let ensemble = three();
    let follower = ensemble.followers()[0];
    let (mut near, mut far) = (
        ZkClient::connect_for(ensemble.port(follower), SECOND).unwrap(),
        ZkClient::connect(ensemble.port(ensemble.leader())).unwrap(),
    );
    let path = near.stand("/x", b"").unwrap();
    assert!(far.get(&path).unwrap().is_some());
    ensemble.part(follower);
    // FACTS of ZooKeeper: pings are answered, and our node is there, while it is gone.
    let gone = until(LIMIT, || {
        near.ping().unwrap();
        far.get(&path).unwrap().is_none().then_some(())
    });
    near.ping().unwrap();
    assert!(near.get(&path).unwrap().is_some(), "it has not heard");
    assert!(near.timeout() <= SECOND && gone.is_some());
    ensemble.join(follower);
    ensemble.await_ready(follower);
    assert!(near.sync().is_err() || near.get(&path).unwrap().is_none());
}

#[test]
fn nothing_is_written_without_a_majority() {
    let ensemble = three();
    ensemble.client().put("/k", b"v").unwrap();
    ensemble.kill(0);
    ensemble.kill(1);
    ensemble.kill(2);
    ensemble.revive(2);
    assert!(ZkClient::connect(ensemble.port(2)).is_err());
    ensemble.restart(0);
    assert_eq!(value(&ensemble, "/k").unwrap(), b"v");
    ensemble.restart(1);
    assert_eq!(ensemble.followers().len(), 2);
}

#[test]
fn what_is_restricted_is_for_its_user() {
    let server = ZooKeeper::start();
    let mut client = server.client();
    client.login("ann", "secret").unwrap();
    client.put("/k", b"v").unwrap();
    // SHA-1 of `ann:secret`, in base 64.
    client.restrict("/k", "ann:7RJfAeIvrl4zdj6sS2fXrQHDvHM=").unwrap();
    assert_eq!(client.get("/k").unwrap().unwrap().data, b"v");
    assert!(server.client().get("/k").unwrap_err().to_string().contains("-102"));
}

#[test]
fn tls_is_listened_for() {
    let server = ZooKeeperSettings::default().tls().start();
    let [ours, strangers] = server.authorities();
    for (authority, trusts) in [(ours, true), (strangers, false)] {
        let mut openssl = std::process::Command::new("openssl");
        openssl.args(["s_client", "-verify_return_error", "-CAfile"]).arg(authority);
        openssl.args(["-connect", &format!("127.0.0.1:{}", server.secure_port(0))]);
        let output = openssl.stdin(std::process::Stdio::null()).output().unwrap();
        assert_eq!(output.status.success(), trusts);
    }
}
