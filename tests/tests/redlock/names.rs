//! Names of servers that lead to other servers than before.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::place::{LONG, Place, SECOND, url_of};
use leasehold::runtime::Runtime;
use leasehold::{Client, Kind, Lease, Outcome};
use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::proxy::Proxy;
use leasehold_tests::servers::Server;
use tokio::task::JoinHandle;

const EPOCH: &str = "leasehold:\0epoch";

/// Three servers, each behind a name of its own that can lead elsewhere.
struct Names {
    place: Place,
    proxies: Vec<Proxy>,
}

impl Names {
    fn new() -> Self {
        let place = Place::of(3);
        let proxies = place.ports().into_iter().map(Proxy::before).collect();
        Self { place, proxies }
    }

    fn url(&self) -> String {
        let ports: Vec<u16> = self.proxies.iter().map(Proxy::port).collect();
        url_of(&ports, "max_ttl=2m")
    }

    /// A client that is connected to all three.
    fn client(&self) -> Client {
        let before: Vec<_> = self.place.servers.iter().map(connections).collect();
        let client = self.place.client_of(&self.url());
        for (server, before) in self.place.servers.iter().zip(before) {
            // Of older clients some may just be closing.
            let newest = before.into_iter().max();
            let all = || (connections(server).into_iter().max() > newest).then_some(());
            until(LIMIT, all).expect("connected to all");
        }
        client
    }

    /// The first name leads to the second server from now on.
    fn switch(&self) {
        self.proxies[0].lead_to(self.place.servers[1].port());
    }

    /// Whoever was connected last to the first server has to connect again; wait
    /// until that failed, or led to the second.
    fn lose_last_connection(&self) {
        let tries = self.proxies[0].connections() + 2;
        let elsewhere = connections(&self.place.servers[1]).len();
        let last = connections(&self.place.servers[0]).into_iter().max().expect("a connection");
        self.place.servers[0].command(&["CLIENT", "KILL", "ID", &last.to_string()]);
        let tried = || {
            let failed = self.proxies[0].connections() >= tries;
            (failed || connections(&self.place.servers[1]).len() > elsewhere).then_some(())
        };
        until(LIMIT, tried).expect("the name is tried again");
    }

    /// "127.0.0.1:PORT" of the first and the second name.
    fn first_two(&self) -> [String; 2] {
        [0, 1].map(|at| format!("127.0.0.1:{}", self.proxies[at].port()))
    }
}

/// The ids of the clients of ours that are connected.
fn connections(server: &Server) -> Vec<u64> {
    let list = server.command(&["CLIENT", "LIST"]);
    let ours = list.as_str().unwrap().lines().filter(|line| line.contains(" name=leasehold "));
    let id = |line: &str| line.split_once(' ')?.0.strip_prefix("id=")?.parse().ok();
    ours.filter_map(id).collect()
}

/// One name of a client leads to the server of another: with the third they
/// would be three votes of two servers, and two of one.
#[test]
fn a_name_that_leads_to_another_nodes_server_has_no_second_vote() {
    for is_older in [false, true] {
        let names = Names::new();
        let place = &names.place;
        let (first, second) = (names.client(), names.client());
        if is_older {
            // A record that an older version has made.
            place.servers.iter().for_each(|server| {
                server.command(&["HDEL", EPOCH, "node"]);
            });
        }
        names.switch();
        names.lose_last_connection();
        // The first holds the lock on the first and the third server.
        place.servers[1].command(&["SET", "leasehold:x", "somebody else"]);
        let lease = place.hold(&first, "x");
        place.held_by("x", &[0, 2]);
        place.servers[1].command(&["DEL", "leasehold:x"]);
        let other = place.try_hold(&second, "x");
        if let Some(other) = other {
            place.wait(lease.renew()).unwrap();
            place.wait(other.renew()).unwrap();
            panic!("two hold it and renew it, fences {} and {}", lease.fence(), other.fence());
        }
        place.wait(lease.renew()).unwrap();
        // The name is right again.
        names.proxies[0].lead_to(place.servers[0].port());
        names.proxies[0].cut();
        place.wait(lease.release()).unwrap();
        until(LIMIT, || {
            let lease = place.try_hold(&second, "y")?;
            let by_all =
                until(SECOND, || place.votes("y").iter().all(Option::is_some).then_some(()));
            place.wait(lease.release()).unwrap();
            by_all
        })
        .expect("its vote counts again");
    }
}

#[test]
fn a_name_that_leads_to_another_nodes_server_is_an_error_that_names_both() {
    let names = Names::new();
    let place = &names.place;
    let client = names.client();
    names.switch();
    // Nobody can tell by the connections of this client that it is wrong.
    let error = place.no_client_of(&names.url());
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    for word in names.first_two().iter().map(String::as_str).chain([EPOCH]) {
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
    // One that was connected before says it when it needs that node.
    names.lose_last_connection();
    place.servers[2].kill();
    let refused = || {
        let error = place.wait(client.lock("x").ttl(LONG).try_acquire()).err()?;
        (error.kind() == Kind::Refused).then_some(error)
    };
    let error = until(LIMIT, refused).expect("an error that no retry can mend");
    assert_eq!(error.outcome(), Outcome::NotHeld, "{error}");
    for word in names.first_two() {
        assert!(error.to_string().contains(&word), "{word}: {error}");
    }
}

#[test]
fn a_record_says_which_node_the_server_is() {
    let names = Names::new();
    let place = &names.place;
    drop(names.client());
    for (server, proxy) in place.servers.iter().zip(&names.proxies) {
        let node = server.command(&["HGET", EPOCH, "node"]);
        assert_eq!(node.as_str(), Some(&*format!("redis://127.0.0.1:{}", proxy.port())));
        // As an older version leaves it.
        server.command(&["HDEL", EPOCH, "node"]);
    }
    drop(names.client());
    for server in &place.servers {
        assert!(server.command(&["HGET", EPOCH, "node"]).as_str().is_some());
        assert_eq!(server.command(&["HGET", EPOCH, "number"]).as_str(), Some("1"));
    }
}

#[test]
fn a_server_that_was_set_up_from_another_nodes_data_can_be_let_in() {
    let names = Names::new();
    let place = &names.place;
    drop(names.client());
    let other = place.servers[1].command(&["HGET", EPOCH, "node"]);
    place.servers[0].command(&["HSET", EPOCH, "node", other.as_str().unwrap()]);
    let error = place.no_client_of(&names.url());
    assert!(error.to_string().contains(&format!("DEL {EPOCH}")), "{error}");
    place.servers[0].command(&["DEL", EPOCH]);
    let client = names.client();
    place.turn(&client, "x");
    assert!(place.in_quarantine(0));
}

/// Names switch at random, and each client follows at another time.
#[test]
fn names_that_switch_at_random_let_nobody_in_beside_a_holder() {
    let names = Names::new();
    let place = &names.place;
    let slot: Arc<Mutex<Option<Arc<Lease>>>> = Arc::default();
    let turns = Arc::new(AtomicU32::new(0));
    let tasks: Vec<_> = [names.client(), names.client()]
        .into_iter()
        .map(|client| {
            let (slot, turns, clock) = (slot.clone(), turns.clone(), place.clock());
            place.spawn(async move {
                loop {
                    clock.sleep(Duration::from_millis(2)).await;
                    let lock = client.lock("x").ttl(SECOND * 2);
                    let Ok(Some(lease)) = lock.try_acquire().await else { continue };
                    let lease = Arc::new(lease);
                    let other = slot.lock().unwrap().replace(lease.clone());
                    if other.is_some_and(|other| other.is_valid()) && lease.is_valid() {
                        return;
                    }
                    turns.fetch_add(1, Ordering::SeqCst);
                    clock.sleep(Duration::from_millis(20)).await;
                    slot.lock().unwrap().take_if(|held| Arc::ptr_eq(held, &lease));
                    drop(lease.release().await);
                }
            })
        })
        .collect();
    let mut random = fastrand::Rng::with_seed(14);
    let pick = |random: &mut fastrand::Rng| random.usize(..3);
    let end = now() + LIMIT;
    let enough = || turns.load(Ordering::SeqCst) > 30 || now() > end;
    while !enough() && tasks.iter().all(|task| !task.is_finished()) {
        let (name, server) = (pick(&mut random), pick(&mut random));
        // More often right than wrong, or there is no quorum at all.
        let server = if random.bool() { name } else { server };
        names.proxies[name].lead_to(place.servers[server].port());
        let server = &place.servers[name];
        if let Some(id) = random.choice(connections(server)) {
            server.command(&["CLIENT", "KILL", "ID", &id.to_string()]);
        }
        // Longer than the pause before a client connects again.
        place.pass(Duration::from_millis(random.u64(10..300)));
    }
    let two = tasks.iter().any(JoinHandle::is_finished);
    tasks.iter().for_each(JoinHandle::abort);
    let turns = turns.load(Ordering::SeqCst);
    assert!(!two, "two held it after {turns} turns");
    println!("{turns} turns");
    assert!(turns > 10, "{turns} turns");
}
