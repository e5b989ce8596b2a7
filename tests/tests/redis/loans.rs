//! A connection that is lent to whoever waits: to a Tokio runtime, to a thread, or to
//! another loop, also when that does not go on.

use std::future::Future;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use leasehold::host::Poller;
use leasehold::{Client, block_on};
use leasehold_tests::patience::{LIMIT, now, pause, until};
use leasehold_tests::processes::Process;
use rustix::event::{PollFd, PollFlags, poll};
use tokio::runtime::{Builder, Runtime};

use crate::place::{LONG, PROMPT, Place, SECOND};

/// Who waits for answers.
enum Asker {
    Thread,
    Runtime(Runtime),
    Loop(Loop),
}

impl Asker {
    fn all() -> [Self; 3] {
        [Self::Thread, Self::Runtime(runtime()), Self::Loop(Loop::new())]
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        match self {
            Self::Thread => block_on(work),
            Self::Runtime(runtime) => runtime.block_on(work),
            Self::Loop(own) => own.run(work),
        }
    }

    /// Take and release a lock until the connection is lent here.
    fn borrow(&self, client: &Client, name: &str) {
        (0..50).for_each(|_| self.borrow_once(client, name));
    }

    fn borrow_once(&self, client: &Client, name: &str) {
        let lease = self.wait(client.lock(name).ttl(LONG).acquire()).unwrap();
        self.wait(lease.release()).unwrap();
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A loop that watches a descriptor, as those of other languages do.
struct Loop(Arc<Poller>);

struct Ring(Arc<Poller>);

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        self.0.ring();
    }
}

impl Loop {
    fn new() -> Self {
        Self(Arc::new(Poller::new().unwrap()))
    }

    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let waker = Waker::from(Arc::new(Ring(self.0.clone())));
        let mut work = pin!(work);
        loop {
            let mut context = Context::from_waker(&waker);
            if let Poll::Ready(done) = self.0.poll(work.as_mut(), &mut context) {
                return done;
            }
            self.watch();
            self.0.turn();
        }
    }

    fn watch(&self) {
        // SAFETY: it is open as long as the poller is there.
        #[allow(unsafe_code)]
        let watched = unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) };
        _ = poll(&mut [PollFd::new(&watched, PollFlags::IN)], None);
    }
}

/// Others of the same client, in threads of their own, until they are told to stop.
struct Others {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Others {
    fn begin(client: &Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..3).map(|which| {
            let (client, stop) = (client.clone(), stop.clone());
            thread::spawn(move || {
                let asker = Asker::all().into_iter().nth(which).unwrap();
                while !stop.load(Ordering::SeqCst) {
                    asker.borrow(&client, &format!("others/{which}"));
                }
            })
        });
        let threads = threads.collect();
        Self { stop, threads }
    }

    fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn whoever_is_blocked_while_the_connection_is_lent_there_loses_no_lease() {
    for asker in Asker::all() {
        for beside_others in [false, true] {
            let place = Place::new();
            let client = place.client();
            asker.borrow(&client, "mine");
            let lease = asker.wait(client.lock("kept").ttl(SECOND).acquire()).unwrap();
            let others = beside_others.then(|| Others::begin(&client));
            asker.borrow(&client, "mine");
            pause(SECOND * 3);
            assert!(lease.is_valid(), "{:?}", lease.loss());
            others.into_iter().for_each(Others::end);
            asker.wait(lease.release()).unwrap();
        }
    }
}

#[test]
fn a_runtime_or_a_loop_that_goes_away_with_the_connection_loses_no_lease() {
    let place = Place::new();
    let client = place.client();
    let lease = place.wait(client.lock("kept").ttl(SECOND).acquire()).unwrap();
    for _ in 0..20 {
        for asker in Asker::all() {
            asker.borrow(&client, "mine");
            drop(asker);
            block_on(client.status("mine")).unwrap();
        }
    }
    place.pass(SECOND * 3 / 2);
    assert!(lease.is_valid(), "{:?}", lease.loss());
}

#[test]
fn a_client_that_is_closed_leaves_no_connection_to_who_has_it_on_loan() {
    let place = Place::new();
    for asker in Asker::all() {
        let client = place.client();
        asker.borrow(&client, "mine");
        place.wait(client.close());
        drop(client);
        let none = until(LIMIT / 4, || (place.connections() == 0).then_some(()));
        none.expect("the server has no connection of it");
        drop(asker);
    }
}

#[test]
fn a_child_reads_nothing_of_what_its_parent_waits_for() {
    let place = Place::new();
    let worker = env!("CARGO_BIN_EXE_worker");
    let (url, server) = (place.server.url(), place.server.pid().to_string());
    let mut worker = Process::start(worker, &["fork-waiting", &url, &server]);
    assert_eq!(worker.line(), "answered promptly 10 of 10");
    assert!(worker.rest().1);
}

#[test]
fn a_runtime_without_io_is_served_all_the_same() {
    let place = Place::new();
    let client = place.client();
    let without = Builder::new_current_thread().enable_time().build().unwrap();
    Asker::Runtime(without).borrow(&client, "mine");
    Asker::Thread.borrow(&client, "mine");
}

#[test]
fn a_lock_goes_round_between_threads_runtimes_and_loops() {
    const ASKERS: usize = 9;
    const TURNS: usize = 60;
    let place = Place::new();
    let client = place.client();
    let (inside, fences) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
    let threads: Vec<_> = (0..ASKERS)
        .map(|which| {
            let (client, inside, fences) = (client.clone(), inside.clone(), fences.clone());
            thread::spawn(move || {
                let asker = Asker::all().into_iter().nth(which % 3).unwrap();
                for turn in 0..TURNS {
                    let lease = asker.wait(client.lock("shared").ttl(LONG).acquire()).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    fences.lock().unwrap().push(lease.fence());
                    if turn % 10 == which % 10 {
                        pause(Duration::from_millis(12));
                    }
                    inside.fetch_sub(1, Ordering::SeqCst);
                    asker.wait(lease.release()).unwrap();
                    asker.borrow(&client, &format!("own/{which}"));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let fences = fences.lock().unwrap();
    assert_eq!(fences.len(), ASKERS * TURNS);
    assert!(fences.is_sorted());
}

#[test]
fn a_waiter_hears_at_once_whoever_the_connection_was_lent_to_last() {
    for last in Asker::all() {
        for asker in Asker::all() {
            let place = Place::new();
            let (client, other) = (place.client(), place.client());
            let mut took: Vec<Duration> = (0..10)
                .map(|_| {
                    let held = place.hold(&other, "busy");
                    last.borrow(&client, "mine");
                    thread::scope(|scope| {
                        let waiting = scope.spawn(|| {
                            let lease = asker.wait(client.lock("busy").ttl(LONG).acquire());
                            (lease.unwrap(), now())
                        });
                        place.until_in_line("busy", 1);
                        last.borrow(&client, "mine");
                        let released = now();
                        place.wait(held.release()).unwrap();
                        let (lease, at) = waiting.join().unwrap();
                        place.wait(lease.release()).unwrap();
                        at.saturating_duration_since(released)
                    })
                })
                .collect();
            took.sort();
            // A machine that is busy may be late for some of them.
            assert!(took[took.len() / 2] < PROMPT, "{took:?}");
        }
    }
}

#[test]
fn more_is_written_than_there_is_room_for_while_the_connection_is_lent() {
    let place = Place::new();
    let client = place.client();
    for asker in Asker::all() {
        asker.borrow(&client, "mine");
        // Two megabytes of requests at once.
        let name = |number| format!("{}/{number}", "x".repeat(900));
        let all = async {
            let take = |number| {
                let lock = client.lock(name(number)).ttl(LONG);
                Box::pin(async move { lock.acquire().await })
            };
            let mut tasks: Vec<_> = (0..1000).map(take).collect();
            let mut leases = Vec::new();
            std::future::poll_fn(|context| {
                tasks.retain_mut(|task| match task.as_mut().poll(context) {
                    Poll::Ready(lease) => {
                        leases.push(lease.unwrap());
                        false
                    }
                    Poll::Pending => true,
                });
                if tasks.is_empty() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            leases
        };
        let leases = asker.wait(all);
        assert_eq!(leases.len(), 1000);
        for lease in leases {
            asker.wait(lease.release()).unwrap();
        }
    }
}

/// Whoever polls by parking its thread, as the simplest executors do.
fn park_on<T>(work: impl Future<Output = T>) -> T {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut work = pin!(work);
    loop {
        match work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn block_on_in_a_task_of_a_runtime_goes_on_however_much_it_does() {
    let place = Place::new();
    let client = place.client();
    runtime().block_on(async {
        // More than a task may do before it yields.
        (0..200).for_each(|_| Asker::Thread.borrow_once(&client, "in a task"));
    });
}

#[test]
fn a_runtime_that_nobody_drives_is_lent_nothing_twice() {
    let place = Place::new();
    let client = place.client();
    let idle = runtime();
    let entered = idle.enter();
    for _ in 0..20 {
        let lease = park_on(client.lock("x").ttl(LONG).acquire()).unwrap();
        park_on(lease.release()).unwrap();
    }
    drop(entered);
    assert!(idle.metrics().num_alive_tasks() <= 1, "{}", idle.metrics().num_alive_tasks());
    // It is lent to it as soon as somebody drives it.
    Asker::Runtime(idle).borrow(&client, "x");
}
