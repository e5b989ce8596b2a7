//! Real processes on the embedded backend.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::time::Clock;
use leasehold::{Client, Error, Kind, Lease, Lock};
use leasehold_tests::handing::hand_over_a_dead_body;
use leasehold_tests::patience::now;
use leasehold_tests::processes::Process;
use leasehold_tests::register::{Register, WORKERS};
use rustix::process::Signal;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const ROUNDS: u64 = 200;
/// Far more than anything here takes; for tests that would otherwise hang.
const PATIENCE: Duration = Duration::from_secs(120);

/// The same for one who waits for a lock.
const WAIT: Duration = Duration::from_secs(20);

/// At most this long is a holder with a ttl of half a second stopped.
const STOPPED: Duration = Duration::from_secs(3);

struct Place {
    dir: tempfile::TempDir,
    clock: Arc<ThreadRuntime>,
    runtime: tokio::runtime::Runtime,
}

impl Place {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self {
            dir: tempfile::tempdir().expect("a directory"),
            clock: ThreadRuntime::start().expect("a thread"),
            runtime: runtime.expect("a Tokio runtime"),
        }
    }

    fn database(&self) -> String {
        self.dir.path().join("locks.db").display().to_string()
    }

    fn register(&self) -> PathBuf {
        self.dir.path().join("register")
    }

    fn client(&self) -> Client {
        self.try_client().expect("a client")
    }

    fn try_client(&self) -> Result<Client, Error> {
        let url = format!("sqlite:{}", self.database());
        self.runtime.block_on(leasehold::connect(&url))
    }

    /// A stopped process that holds the lock for so many milliseconds, and a client.
    fn stopped_holder(&self, ttl: &str) -> (Process, Client) {
        loop {
            let mut holder = Process::start(WORKER, &["hold", &self.database(), ttl]);
            assert!(holder.line().starts_with("held "));
            assert_eq!(holder.ask("valid"), "true");
            holder.stop();
            match self.try_client() {
                Ok(client) => return (holder, client),
                // It was stopped inside a transaction, and keeps all others out.
                Err(error) => assert_eq!(error.kind(), Kind::Unavailable, "{error}"),
            }
        }
    }

    /// Processes that hold the lock together, for a day.
    fn holders(&self, number: usize, kind: &str) -> Vec<Process> {
        let start = |_| {
            let mut holder = Process::start(WORKER, &["hold", &self.database(), "86400000", kind]);
            assert!(holder.line().starts_with("held "));
            holder
        };
        (0..number).map(start).collect()
    }

    /// Somebody who waits for the lock, and has its place in the line.
    fn waiting(&self, client: &Client, lock: Lock) -> JoinHandle<Result<Lease, Error>> {
        let lock = lock.wait(WAIT);
        let waiting =
            std::thread::spawn(|| leasehold::block_on(async move { lock.acquire().await }));
        self.until("somebody waits", || {
            let status = self.runtime.block_on(client.status("register")).expect("a status");
            status.is_some_and(|status| status.waiters.len() == 1)
        });
        waiting
    }

    fn sleep(&self, millis: u64) {
        self.runtime.block_on(self.clock.sleep(Duration::from_millis(millis)));
    }

    fn random(&self, below: u64) -> u64 {
        self.clock.random() as u64 % below
    }

    fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let started = self.clock.now();
        while !done() {
            assert!(self.clock.now().since(started) < PATIENCE, "waited in vain until {what}");
            self.sleep(10);
        }
    }

    fn counter(&self, number: usize, fenced: bool) -> Process {
        let (number, rounds) = (number.to_string(), ROUNDS.to_string());
        let (database, register) = (self.database(), self.register());
        let register = register.to_str().expect("a path in UTF-8");
        Process::start(
            WORKER,
            &["count", &database, register, &number, &rounds, &fenced.to_string()],
        )
    }
}

fn assert_nothing_lost(register: &Path) {
    let content = Register::at(register).look().expect("a register");
    assert_eq!(content.counts, [ROUNDS; WORKERS]);
    assert_eq!(content.total, ROUNDS * WORKERS as u64);
}

#[test]
fn twenty_processes_lose_no_increment_though_five_are_killed() {
    let place = Place::new();
    let start = |number| place.counter(number, false);
    let mut workers: Vec<Process> = (0..WORKERS).map(start).collect();
    let register = Register::at(&place.register());
    for kill in 1..=5 {
        // Spread over the run, by progress and not by time.
        let progress = kill * ROUNDS * WORKERS as u64 / 8;
        place.until("there is progress", || {
            register.look().is_ok_and(|content| content.total >= progress)
        });
        place.sleep(place.random(20));
        let victim = place.random(WORKERS as u64) as usize;
        workers[victim].signal(Signal::KILL);
        workers[victim] = start(victim);
    }
    for worker in workers {
        let (said, success) = worker.rest();
        assert!(success && said.is_empty(), "{said:?}");
    }
    assert_nothing_lost(&place.register());
}

#[test]
fn late_writes_of_stopped_processes_are_rejected_by_their_fence() {
    let place = Place::new();
    let workers: Vec<Process> = (0..WORKERS).map(|n| place.counter(n, true)).collect();
    let register = Register::at(&place.register());
    let look = || register.look().expect("a register");
    let mut overtaken = 0;
    while overtaken < 5 && look().total < ROUNDS * WORKERS as u64 {
        // Whoever is reading now: it is likely to be stopped before its write.
        let reader = look().reader;
        let Some(worker) = workers.iter().find(|worker| worker.id() == reader) else {
            place.sleep(1);
            continue;
        };
        worker.signal(Signal::STOP);
        let stopped_at = look();
        if stopped_at.reader == reader {
            // Longer than its ttl, until somebody else has the lock. Or not: it
            // may have been stopped inside a transaction and keep all others out.
            let since = place.clock.now();
            while look().fence == stopped_at.fence && place.clock.now().since(since) < STOPPED {
                place.sleep(10);
            }
            overtaken += usize::from(look().fence > stopped_at.fence);
        }
        worker.signal(Signal::CONT);
    }
    let rejected: usize = workers
        .into_iter()
        .map(|worker| {
            let (said, success) = worker.rest();
            assert!(success && said.iter().all(|line| line == "rejected"), "{said:?}");
            said.len()
        })
        .sum();
    println!("{overtaken} were overtaken while stopped, {rejected} late writes rejected");
    assert!(rejected >= 1, "no late write was seen, so nothing was proven");
    assert_nothing_lost(&place.register());
}

#[test]
fn the_lock_of_a_killed_process_is_free_at_once() {
    let place = Place::new();
    let mut holder = Process::start(WORKER, &["hold", &place.database(), "86400000"]);
    assert!(holder.line().starts_with("held "));
    let client = place.client();
    let waiting = place.waiting(&client, client.lock("register"));
    holder.signal(Signal::KILL);
    // Its ttl is a day.
    waiting.join().expect("no panic").expect("the lock");
}

#[test]
fn the_permit_of_a_killed_process_is_free_at_once_whichever_it_has() {
    let place = Place::new();
    let client = place.client();
    for victim in 0..4 {
        let holders = place.holders(4, "4");
        let waiting = place.waiting(&client, client.lock("register").permits(4));
        holders[victim].signal(Signal::KILL);
        let slot = waiting.join().expect("no panic").expect("a permit").slot();
        assert_eq!(slot.map(|slot| slot as usize), Some(victim));
    }
}

#[test]
fn a_writer_waits_for_no_reader_that_was_killed() {
    let place = Place::new();
    let client = place.client();
    for order in [[2, 1, 0], [0, 1, 2], [1, 2, 0]] {
        let mut holders = place.holders(3, "shared");
        let waiting = place.waiting(&client, client.lock("register"));
        holders[order[0]].signal(Signal::KILL);
        holders[order[1]].signal(Signal::KILL);
        assert_eq!(holders[order[2]].ask("release"), "Ok(())");
        drop(waiting.join().expect("no panic").expect("the lock"));
    }
}

#[test]
fn the_lock_of_a_killed_process_that_asked_for_a_delay_is_not() {
    let place = Place::new();
    let delayed = format!("{}?delay=2s", place.database());
    let mut holder = Process::start(WORKER, &["hold", &delayed, "1000"]);
    assert!(holder.line().starts_with("held "));
    holder.signal(Signal::KILL);
    assert!(!holder.rest().1);
    let killed = now();
    let client = place.client();
    let shown = place.runtime.block_on(client.status("register")).expect("a status");
    assert!(shown.is_some_and(|status| status.holder().is_some()));
    let lock = client.lock("register").wait(PATIENCE);
    let next = place.runtime.block_on(lock.acquire()).expect("the lock");
    // It was renewed a third of its ttl before, at the earliest.
    let took = killed.elapsed();
    assert!(took > Duration::from_millis(2500) && took < Duration::from_secs(5), "{took:?}");
    // The next one has asked for none.
    place.runtime.block_on(next.release()).expect("held");
}

#[test]
fn a_lock_rests_when_the_process_that_gave_it_back_is_dead() {
    let place = Place::new();
    let mut holder = Process::start(WORKER, &["hold", &place.database(), "1000", "rests"]);
    assert!(holder.line().starts_with("held "));
    assert_eq!(holder.ask("release"), "Ok(())");
    holder.signal(Signal::KILL);
    assert!(!holder.rest().1);
    let client = place.client();
    let tried = place.runtime.block_on(client.lock("register").try_acquire()).expect("an answer");
    assert!(tried.is_none());
    let status = place.runtime.block_on(client.status("register")).expect("a status");
    assert!(status.is_some_and(|it| it.holder().is_some_and(|holder| holder.resting)));
}

#[test]
fn the_lock_of_a_killed_process_is_free_for_those_who_connect_after_it_too() {
    let place = Place::new();
    let mut holder = Process::start(WORKER, &["hold", &place.database(), "86400000"]);
    assert!(holder.line().starts_with("held "));
    holder.signal(Signal::KILL);
    assert!(!holder.rest().1);
    for _ in 0..2 {
        let client = place.client();
        // Answered when it has tidied up.
        place.runtime.block_on(client.list()).expect("a list");
    }
    let client = place.client();
    let lease = place.runtime.block_on(client.lock("register").try_acquire()).expect("an answer");
    assert!(lease.is_some(), "its ttl is a day");
}

#[test]
fn a_ticket_outlives_the_process_that_gave_it() {
    let place = Place::new();
    let database = place.database();
    hand_over_a_dead_body(WORKER, &database, &format!("sqlite:{database}"));
}

#[test]
fn a_process_that_was_stopped_past_its_ttl_knows_at_once() {
    let place = Place::new();
    let (mut holder, client) = place.stopped_holder("1000");
    let next = place.runtime.block_on(client.lock("register").wait(PATIENCE).acquire());
    let next = next.expect("the lock, when the ttl is over");
    holder.signal(Signal::CONT);
    assert_eq!(holder.ask("valid"), "false");
    assert_eq!(holder.ask("lost"), "Expired");
    assert_eq!(holder.ask("release"), r#"Err("lost")"#);
    assert!(next.is_valid(), "the late release touched the next holder's lease");
    place.runtime.block_on(next.renew()).expect("still held");
}

#[test]
fn a_forked_child_holds_nothing_and_its_end_releases_nothing() {
    let place = Place::new();
    let mut worker = Process::start(WORKER, &["fork", &place.database()]);
    assert_eq!(worker.line(), "valid true renewed Ok(())");
    assert!(worker.rest().1);
}

#[cfg(target_os = "linux")]
#[test]
fn where_no_thread_is_to_be_had_the_backend_is_unavailable() {
    let mut crowded = Process::start(WORKER, &["crowded"]);
    for _ in ["memory:", "sqlite:"] {
        assert_eq!(crowded.line(), "unavailable");
    }
}
