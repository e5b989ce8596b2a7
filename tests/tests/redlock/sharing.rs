//! Locks that several share, on a quorum of real servers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::place::{LONG, Place, SECOND};
use leasehold::{Client, Lease, Lock};
use leasehold_tests::own_keys;
use leasehold_tests::patience::{LIMIT, now, until};
use leasehold_tests::processes::Process;
use leasehold_tests::servers::Settings;
use rustix::process::Signal;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

fn shared(client: &Client) -> Lock {
    client.lock("x").ttl(LONG).shared()
}

#[track_caller]
fn share(place: &Place, client: &Client) -> Lease {
    place.wait(shared(client).acquire()).unwrap()
}

/// The turn on each server: what its plain key says.
fn turns(place: &Place, name: &str) -> Vec<Option<u64>> {
    let turn = |vote: String| vote.strip_prefix("shared:-1 ").map(|turn| turn.parse().unwrap());
    place.votes(name).into_iter().map(|vote| vote.and_then(turn)).collect()
}

#[track_caller]
fn free_everywhere(place: &Place, name: &str) {
    let is_free = || place.votes(name).iter().all(Option::is_none).then_some(());
    until(LIMIT, is_free).expect("nothing is left");
}

#[test]
fn readers_share_a_turn_and_a_writer_waits_for_all_of_them() {
    let place = Place::of(5);
    let clients = [(); 3].map(|()| place.client());
    let [first, second, third] = clients.each_ref();
    let first = share(&place, first);
    // Where its question comes after that of another reader, that one begins a turn of its own.
    let is_begun = || (turns(&place, "x") == [Some(first.fence()); 5]).then_some(());
    until(LIMIT, is_begun).expect("voted");
    let readers = [first, share(&place, second), share(&place, third)];
    assert!(readers.iter().all(|lease| lease.fence() == readers[0].fence()));
    assert_eq!(turns(&place, "x"), [Some(readers[0].fence()); 5]);
    let mut status = place.wait(clients[0].status("x")).unwrap().expect("held");
    status.holders.sort_by_key(|holder| holder.held_for);
    assert_eq!((status.fence, status.holders.len()), (readers[0].fence(), 3), "{status:?}");
    let writer = place.stand_in_line(&place.client(), "x");
    for lease in readers {
        assert!(!writer.is_finished());
        // A reader that comes now waits for the writer.
        assert!(place.wait(shared(&clients[0]).try_acquire()).unwrap().is_none());
        place.wait(lease.renew()).unwrap();
        place.wait(lease.release()).unwrap();
    }
    let (lease, _) = place.granted(writer);
    assert!(place.wait(shared(&clients[0]).try_acquire()).unwrap().is_none());
    place.wait(lease.release()).unwrap();
    assert!(share(&place, &clients[0]).fence() > lease.fence());
}

#[test]
fn a_released_writer_admits_all_readers_up_to_the_next_writer() {
    let place = Place::of(3);
    let client = place.client();
    let lease = place.hold(&client, "x");
    let readers: Vec<Client> = (0..20).map(|_| place.client()).collect();
    let waiting: Vec<_> = readers.iter().map(|reader| place.queue(shared(reader))).collect();
    until(LIMIT, || (place.line("x") == 20).then_some(())).expect("all wait");
    let writer = place.stand_in_line(&place.client(), "x");
    let started = now();
    place.wait(lease.release()).unwrap();
    let leases: Vec<Lease> = waiting.into_iter().map(|one| place.granted(one).0).collect();
    assert!(started.elapsed() < 2 * SECOND, "{:?} for all of them", started.elapsed());
    assert!(leases.iter().all(|one| one.fence() == leases[0].fence()), "{leases:?}");
    assert!(!writer.is_finished());
    for lease in &leases {
        place.wait(lease.release()).unwrap();
    }
    assert!(place.granted(writer).0.fence() > leases[0].fence());
}

#[test]
fn a_writer_is_not_starved_by_readers_that_come_all_the_time() {
    let place = Place::of(3);
    let until_then = now() + SECOND * 6;
    let readers: Vec<_> = (0..6)
        .map(|_| {
            let (lock, clock) = (place.client().lock("x").ttl(LONG).shared(), place.clock());
            place.spawn(async move {
                let mut reads = 0;
                while now() < until_then {
                    let lease = lock.acquire().await.unwrap();
                    leasehold::runtime::Runtime::sleep(&*clock, Duration::from_millis(40)).await;
                    lease.release().await.unwrap();
                    reads += 1;
                }
                reads
            })
        })
        .collect();
    let writer = place.client();
    let (mut writes, mut longest) = (0, Duration::ZERO);
    while now() < until_then - SECOND {
        let asked = now();
        let lease = place.hold(&writer, "x");
        longest = longest.max(asked.elapsed());
        place.wait(lease.release()).unwrap();
        writes += 1;
    }
    let reads: Vec<i32> = readers.into_iter().map(|one| place.wait(one).unwrap()).collect();
    assert!(longest < 2 * SECOND && writes >= 10, "{writes} writes, {longest:?} at most");
    assert!(reads.iter().all(|reads| *reads > 3), "{reads:?} reads beside {writes} writes");
}

#[test]
fn those_of_the_published_algorithm_stay_out_while_anybody_shares_and_the_reverse() {
    let place = Place::of(3);
    let clients = [place.client(), place.client()];
    // With a quorum of `SET NX PX`; what it got else it gives back.
    let they_take = || {
        let set = |node: &usize| {
            let set = ["SET", "leasehold:x", "theirs", "NX", "PX", "60000"];
            place.servers[*node].command(&set).as_str() == Some("OK")
        };
        let taken: Vec<usize> = (0..3).filter(set).collect();
        if taken.len() < 2 {
            for node in &taken {
                place.servers[*node].command(&["DEL", "leasehold:x"]);
            }
        }
        taken.len() >= 2
    };
    let leases = clients.each_ref().map(|client| share(&place, client));
    for lease in leases {
        assert!(!they_take());
        place.wait(lease.renew()).unwrap();
        for server in &place.servers {
            let lives = server.command(&["PTTL", "leasehold:x"]).as_int().unwrap();
            assert!(lives > 50_000, "the plain key lives as long as a share: {lives}");
        }
        place.wait(lease.release()).unwrap();
    }
    free_everywhere(&place, "x");
    assert!(they_take());
    assert!(place.wait(shared(&clients[0]).try_acquire()).unwrap().is_none());
    let waiter = place.queue(shared(&clients[1]));
    until(LIMIT, || (place.line("x") == 1).then_some(())).expect("it waits");
    for server in &place.servers {
        server.command(&["DEL", "leasehold:x"]);
    }
    place.granted(waiter);
}

#[test]
fn shares_outlive_one_node_after_the_other_and_come_to_those_that_lost_them() {
    let place = Place::of(3);
    let clients = [(); 2].map(|()| place.client_of(&place.short_url()));
    let locks = clients.each_ref().map(|client| client.lock("x").shared());
    let leases = locks.each_ref().map(|lock| place.wait(lock.acquire()).unwrap());
    let turn = leases[0].fence();
    assert_eq!(leases[1].fence(), turn);
    for (first, second) in [(0, 1), (1, 2), (2, 0)] {
        place.servers[first].restart_empty();
        until(LIMIT, || (turns(&place, "x") == [Some(turn); 3]).then_some(())).expect("healed");
        place.servers[second].kill();
        // For longer than a ttl.
        place.pass(SECOND);
        for lease in &leases {
            assert!(lease.is_valid(), "lost after {first} and {second}: {:?}", lease.loss());
        }
        place.servers[second].restart();
        until(LIMIT, || (turns(&place, "x") == [Some(turn); 3]).then_some(())).expect("healed");
    }
    let writer = place.queue(place.client_of(&place.short_url()).lock("x"));
    for lease in leases {
        place.pass(SECOND / 5);
        assert!(!writer.is_finished());
        place.wait(lease.release()).unwrap();
    }
    assert!(place.granted(writer).0.fence() > turn);
}

#[test]
fn a_reader_that_is_killed_keeps_a_writer_for_its_ttl_and_the_others_their_shares() {
    let place = Place::of(3);
    let url = place.url();
    let client = place.client();
    let alive = place.wait(client.lock("register").ttl(LONG).shared().acquire()).unwrap();
    let mut dead = Process::start(WORKER, &["hold", &url, "1500", "shared"]);
    assert!(!dead.line().is_empty());
    let status = place.wait(client.status("register")).unwrap().expect("held");
    assert_eq!(status.holders.len(), 2, "{status:?}");
    let writer = place.stand_in_line(&place.client(), "register");
    dead.signal(Signal::KILL);
    let killed = now();
    place.wait(alive.release()).unwrap();
    let (lease, at) = place.granted(writer);
    let took = at.saturating_duration_since(killed);
    assert!(took < 4 * SECOND, "{took:?} after it was killed");
    assert!(lease.fence() > alive.fence());
}

#[test]
fn a_broken_turn_is_lost_by_all_who_share_it() {
    let place = Place::of(3);
    let clients = [(); 3].map(|()| place.client());
    let leases = [share(&place, &clients[0]), share(&place, &clients[1])];
    assert!(place.wait(clients[2].break_lock("x")).unwrap());
    for lease in &leases {
        until(LIMIT, || (!lease.is_valid()).then_some(())).expect("it hears of it");
    }
    let writer = place.hold(&clients[2], "x");
    assert!(writer.fence() > leases[0].fence());
}

/// Who shares the lock for so many ms.
const READERS: &str = "
local time = redis.call('TIME')
local ends = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
for number = 1, tonumber(ARGV[2]) do
  local owner = string.format('ab%030d', number + ARGV[1] + 10000)
  redis.call('ZADD', KEYS[1], string.format('%.0f', ends), owner)
  redis.call('HSET', KEYS[2], owner, '1 1 leasehold:00000000000000000000000000000000 seeded')
end
return 1";

#[test]
fn all_who_share_are_shown_and_none_of_those_whose_time_is_over() {
    let place = Place::of(3);
    let client = place.client();
    let lease = share(&place, &client);
    until(LIMIT, || (turns(&place, "x") == [Some(lease.fence()); 3]).then_some(())).expect("voted");
    for server in &place.servers {
        let ends = own_keys::ends(server, "leasehold:x").unwrap();
        let turn = own_keys::turn(server, "leasehold:x").unwrap();
        for [lasts, many] in [["-1000", "1500"], ["100000", "2500"], ["110000", "1"]] {
            server.command(&["EVAL", READERS, "2", &ends, &turn, lasts, many]);
        }
    }
    let shown = place.wait(client.status("x")).unwrap().map(|status| status.holders.len());
    assert_eq!(shown, Some(2502));
}

#[test]
fn nothing_is_left_of_those_who_shared_but_records_with_an_end() {
    let place = Place::of(3);
    let client = place.client();
    let leases: Vec<Lease> = (0..5).map(|_| share(&place, &client)).collect();
    for lease in leases {
        place.wait(lease.release()).unwrap();
    }
    free_everywhere(&place, "x");
    for server in &place.servers {
        for key in server.keys().iter().filter(|key| key.starts_with("leasehold:x")) {
            let lives = server.command(&["PTTL", key]).as_int().unwrap();
            assert!((0..=90_000_000).contains(&lives), "{key:?} lives for {lives} ms");
            assert!(!key.contains("\0e"), "{key:?}: nobody shares it any more");
        }
    }
}

/// Who holds what at a moment, by who was told so and has not begun to give it back.
#[derive(Default)]
struct Watch {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// By number, the fence and whether it is shared.
    leases: BTreeMap<u64, (u64, bool, Arc<Lease>)>,
    next: u64,
    highest: u64,
    highest_is_turn: bool,
    grants: [u64; 2],
    overlaps: u64,
}

impl Watch {
    fn took(&self, lease: Arc<Lease>, is_shared: bool) -> u64 {
        let mut held = self.held.lock().unwrap();
        let fence = lease.fence();
        let others = held.leases.values().filter(|(.., other)| other.is_valid());
        let mut overlaps = 0;
        for (other, other_is_shared, lease_of_other) in others {
            assert!(
                !lease.is_valid() || is_shared && *other_is_shared && *other == fence,
                "{lease:?} ({is_shared}) beside {lease_of_other:?} ({other_is_shared})"
            );
            overlaps += 1;
        }
        held.overlaps += overlaps;
        // Nobody else holds it now but those who share it, so this is the latest grant.
        let same = is_shared && held.highest_is_turn && fence == held.highest;
        assert!(
            !lease.is_valid() || fence > held.highest || same,
            "{fence} after {}",
            held.highest
        );
        if fence > held.highest {
            (held.highest, held.highest_is_turn) = (fence, is_shared);
        }
        held.grants[usize::from(is_shared)] += 1;
        held.next += 1;
        let number = held.next;
        held.leases.insert(number, (fence, is_shared, lease));
        number
    }

    fn gives_back(&self, number: u64) {
        self.held.lock().unwrap().leases.remove(&number);
    }
}

/// How long the mixed load lasts.
#[allow(clippy::disallowed_methods)] // a test may; the library may not
fn load() -> Duration {
    let seconds = std::env::var("LEASEHOLD_LOAD_SECONDS");
    Duration::from_secs(seconds.map_or(15, |seconds| seconds.parse().unwrap()))
}

#[test]
fn readers_and_writers_in_bad_weather_never_overlap_and_their_fences_rise() {
    let place = Place::on(vec![Settings::default().appendonly(); 3]);
    let (watch, ends) = (Arc::new(Watch::default()), now() + load());
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let client = place.client_of(&place.short_url());
            let (watch, clock) = (watch.clone(), place.clock());
            place.spawn(async move { live(&client, number, &watch, &*clock, ends).await })
        })
        .collect();
    let mut random = fastrand::Rng::new();
    while now() + SECOND * 5 < ends {
        let node = &place.servers[random.usize(..3)];
        match random.u32(..4) {
            0 => node.restart_empty(),
            1 => node.restart(),
            2 => {
                node.kill();
                place.pass(Duration::from_millis(random.u64(..1500)));
                node.restart();
            }
            _ => {
                node.freeze();
                place.pass(Duration::from_millis(random.u64(..1500)));
                node.thaw();
            }
        }
        // For the longest quarantine, so that a majority is there now and then.
        place.pass(Duration::from_millis(2500 + random.u64(..2500)));
    }
    for task in tasks {
        place.wait(task).unwrap();
    }
    let held = watch.held.lock().unwrap();
    println!("{:?} grants alone and shared, {} shared at once", held.grants, held.overlaps);
    assert!(held.grants.iter().all(|grants| *grants > 10), "{:?}", held.grants);
    assert!(held.overlaps > 0);
}

async fn live(
    client: &Client,
    number: u64,
    watch: &Watch,
    clock: &dyn leasehold::runtime::Runtime,
    ends: Instant,
) {
    let mut random = fastrand::Rng::with_seed(number);
    while now() < ends {
        let is_shared = random.u32(..3) > 0;
        let lock = client.lock("x").wait(SECOND * 3);
        let lock = if is_shared { lock.shared() } else { lock };
        let Ok(lease) = lock.acquire().await else { continue };
        let lease = Arc::new(lease);
        let number = watch.took(lease.clone(), is_shared);
        let holds = if random.u32(..10) == 0 { 2500 } else { 60 };
        clock.sleep(Duration::from_millis(random.u64(..holds))).await;
        watch.gives_back(number);
        if random.u32(..8) == 0 {
            drop(lease);
        } else {
            drop(lease.release().await);
        }
        clock.sleep(Duration::from_millis(random.u64(..60))).await;
    }
}
