//! What the engine promises, on virtual time and in fair weather, by name.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use leasehold::backend::{
    Answer, Backend, Claim, Held, Memory, MemoryClient, Released, Renewal, Status, Wake,
};
use leasehold::{Client, Error, Kind, Lease, LockName, Loss, Options, Outcome};
use leasehold_tests::world::{Machine, TrueClock, cut_at};

const SECOND: Duration = Duration::from_secs(1);
const TTL: Duration = Duration::from_secs(9);

/// A connection that counts its requests, and can be cut or slowed down.
struct Wire {
    inner: MemoryClient,
    truth: TrueClock,
    claims: AtomicU64,
    renewals: AtomicU64,
    releases: AtomicU64,
    cut: AtomicBool,
    /// How long the answer to a renewal takes, in milliseconds.
    renewal_takes: AtomicU64,
}

impl Wire {
    fn check(&self, count: &AtomicU64) -> Result<(), Error> {
        count.fetch_add(1, Ordering::SeqCst);
        match self.cut.load(Ordering::SeqCst) {
            false => Ok(()),
            true => Err(Error::new(Kind::Unavailable, "the cable is cut")),
        }
    }

    fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::SeqCst);
    }

    fn requests(&self) -> [u64; 3] {
        [&self.claims, &self.renewals, &self.releases].map(|count| count.load(Ordering::SeqCst))
    }
}

#[async_trait]
impl Backend for Wire {
    async fn claim(&self, claim: &Claim) -> Result<Answer, Error> {
        self.check(&self.claims)?;
        self.inner.claim(claim).await
    }

    async fn renew(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        self.check(&self.renewals)?;
        let answers = self.inner.renew(leases).await?;
        let millis = self.renewal_takes.load(Ordering::SeqCst);
        self.truth.sleep(Duration::from_millis(millis)).await;
        Ok(answers)
    }

    async fn release(&self, held: &Held, then: Option<&Claim>) -> Result<Released, Error> {
        self.check(&self.releases)?;
        // As over a network: the answer is not there at once.
        self.truth.sleep(Duration::from_millis(1)).await;
        self.inner.release(held, then).await
    }

    async fn withdraw(&self, claim: &Claim) -> Result<(), Error> {
        self.check(&AtomicU64::new(0))?;
        self.inner.withdraw(claim).await
    }

    async fn evict(&self, name: &LockName) -> Result<bool, Error> {
        self.inner.evict(name).await
    }

    async fn inspect(&self, name: Option<&LockName>) -> Result<Vec<Status>, Error> {
        self.inner.inspect(name).await
    }

    async fn wake(&self) -> Wake {
        self.inner.wake().await
    }

    fn describe(&self) -> &str {
        "a wire"
    }
}

struct World {
    truth: TrueClock,
    server: Memory,
    /// Owners are unique among clients because their randomness is.
    seeds: AtomicU64,
}

impl World {
    fn client(&self) -> (Client, Arc<Wire>) {
        let wire = Arc::new(Wire {
            inner: self.server.client(),
            truth: self.truth,
            claims: AtomicU64::new(0),
            renewals: AtomicU64::new(0),
            releases: AtomicU64::new(0),
            cut: AtomicBool::new(false),
            renewal_takes: AtomicU64::new(0),
        });
        let seed = self.seeds.fetch_add(1, Ordering::SeqCst);
        let machine = Machine::new(self.truth, 1.0, seed);
        let options = Options::new().runtime(machine).ttl(TTL);
        (options.open(wire.clone()).expect("a client"), wire)
    }

    async fn is_free(&self, name: &str) -> bool {
        let (client, _) = self.client();
        client.status(name).await.expect("a status").is_none()
    }

    async fn settle(&self) {
        self.truth.sleep(Duration::from_millis(5)).await;
    }
}

fn on_virtual_time<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    let built =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    built.expect("a Tokio runtime").block_on(async {
        let truth = TrueClock::start();
        let (server, seeds) = (Memory::new(Arc::new(truth)), AtomicU64::new(0));
        test(World { truth, server, seeds }).await;
    });
}

async fn hold(client: &Client, name: &str) -> Lease {
    client.lock(name).acquire().await.expect("the lock")
}

#[allow(clippy::disallowed_methods)] // the test is one Tokio runtime
fn spawn<F>(task: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(task)
}

#[test]
fn a_thousand_waiting_tasks_cost_one_remote_waiter() {
    on_virtual_time(async |world| {
        let ((other, _), (client, wire)) = (world.client(), world.client());
        let lease = hold(&other, "x").await;
        let lock = client.lock("x");
        let tasks: Vec<_> = (0..1000)
            .map(|_| {
                let lock = lock.clone();
                spawn(async move { lock.acquire().await.expect("the lock").release().await })
            })
            .collect();
        world.truth.sleep(SECOND * 30).await;
        let waiters = other.status("x").await.expect("a status").expect("held").waiters;
        assert_eq!(waiters.len(), 1);
        let [claims, ..] = wire.requests();
        assert!(claims <= 60, "{claims} requests in 30 s");
        lease.release().await.expect("held");
        for task in tasks {
            task.await.expect("no panic").expect("held");
        }
        let [after, _, releases] = wire.requests();
        assert_eq!((after - claims, releases), (1, 1000), "one request for each hand-over");
    });
}

#[test]
fn waiters_of_one_client_are_served_in_their_order() {
    on_virtual_time(async |world| {
        let (client, _) = world.client();
        let lease = hold(&client, "x").await;
        let (served, mut order) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..50 {
            let (lock, served) = (client.lock("x"), served.clone());
            spawn(async move {
                let lease = lock.acquire().await.expect("the lock");
                served.send((number, lease.fence())).expect("the test listens");
            });
            world.settle().await;
        }
        let mut last = lease.fence();
        drop((lease, served));
        for expected in 0..50 {
            let (number, fence) = order.recv().await.expect("another one");
            assert_eq!(number, expected);
            assert!(fence > last);
            last = fence;
        }
    });
}

#[test]
fn a_client_with_many_waiters_does_not_starve_another() {
    on_virtual_time(async |world| {
        let ((greedy, _), (modest, _)) = (world.client(), world.client());
        let lease = hold(&greedy, "x").await;
        let turns = Arc::new(AtomicU64::new(0));
        for _ in 0..100 {
            let (lock, turns) = (greedy.lock("x"), turns.clone());
            spawn(async move {
                let lease = lock.acquire().await.expect("the lock");
                turns.fetch_add(1, Ordering::SeqCst);
                lease.release().await
            });
        }
        let waiting = spawn({
            let lock = modest.lock("x");
            async move { lock.acquire().await }
        });
        world.settle().await;
        drop(lease);
        waiting.await.expect("no panic").expect("the lock");
        let turns = turns.load(Ordering::SeqCst);
        assert!(turns <= 9, "{turns} others came first");
    });
}

#[test]
fn a_thousand_leases_are_renewed_in_a_few_requests() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let mut leases = Vec::new();
        for number in 0..1000 {
            leases.push(hold(&client, &format!("x{number}")).await);
        }
        world.truth.sleep(TTL * 10).await;
        assert!(leases.iter().all(Lease::is_valid));
        let [_, renewals, _] = wire.requests();
        assert!(renewals <= 3 * 30, "{renewals} requests in 30 thirds of the ttl");
    });
}

#[test]
fn a_lease_that_cannot_be_renewed_is_lost_before_its_deadline() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = hold(&client, "x").await;
        wire.cut(true);
        let deadline = world.truth.elapsed() + lease.remaining();
        assert_eq!(lease.lost().await, Loss::Expired);
        let early = deadline - world.truth.elapsed();
        let grace = TTL / 10;
        assert!(early >= grace - Duration::from_millis(2) && early <= grace, "{early:?} before");
        assert!(!lease.is_valid(), "lost is final, whatever the deadline");
        assert_eq!(lease.release().await.expect_err("cut off").kind(), Kind::Unavailable);
    });
}

#[test]
fn a_short_outage_loses_nothing() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = hold(&client, "x").await;
        for _ in 0..5 {
            wire.cut(true);
            world.truth.sleep(TTL / 2).await;
            wire.cut(false);
            world.truth.sleep(TTL / 2).await;
        }
        assert!(lease.is_valid());
        lease.release().await.expect("held all the time");
    });
}

#[test]
fn an_evicted_holder_is_told_at_once() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        let lease = hold(&client, "x").await;
        assert!(other.break_lock("x").await.expect("an answer"));
        let told_at = world.truth.elapsed();
        assert_eq!(lease.lost().await, Loss::Gone);
        assert!(world.truth.elapsed() - told_at < Duration::from_millis(50));
        assert_eq!(lease.release().await.expect_err("lost").kind(), Kind::Lost);
    });
}

#[test]
fn an_answer_after_the_deadline_is_a_loss_whatever_it_says() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = client.lock("x").auto_renew(false).acquire().await.expect("the lock");
        // The server says yes at once, the answer takes until after the deadline.
        wire.renewal_takes.store(4000, Ordering::SeqCst);
        world.truth.sleep(lease.remaining() - SECOND * 2).await;
        let renewed = lease.renew().await;
        assert_eq!(renewed.expect_err("too late").kind(), Kind::Lost);
        assert!(!lease.is_valid());
    });
}

#[test]
fn a_lease_renewed_by_hand_lasts_and_is_never_taken_again() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = client.lock("x").auto_renew(false).acquire().await.expect("the lock");
        let fence = lease.fence();
        for _ in 0..10 {
            world.truth.sleep(TTL / 2).await;
            lease.renew().await.expect("renewed");
        }
        assert_eq!((lease.fence(), wire.requests()[1]), (fence, 10), "nobody else renewed");
        world.truth.sleep(TTL * 2).await;
        assert_eq!(lease.loss(), Some(Loss::Expired));
        assert_eq!(lease.renew().await.expect_err("lost").kind(), Kind::Lost);
        assert!(world.is_free("x").await);
    });
}

#[test]
fn work_is_dropped_when_its_lease_is_lost() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        let (alive, gone) = tokio::sync::oneshot::channel::<()>();
        let running = spawn({
            let lock = client.lock("x");
            async move {
                lock.run(async |_| {
                    let _alive = alive;
                    std::future::pending::<()>().await;
                })
                .await
            }
        });
        world.settle().await;
        other.break_lock("x").await.expect("an answer");
        assert!(gone.await.is_err(), "dropped, not finished");
        assert_eq!(running.await.expect("no panic").expect_err("lost").kind(), Kind::Lost);
    });
}

#[test]
fn the_result_of_the_work_survives_a_failing_release() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lock = client.lock("x");
        let result = lock.run(async |lease| {
            wire.cut(true);
            Err::<(), _>(format!("the user's own error under fence {}", lease.fence()))
        });
        let result = result.await.expect("the work was done");
        assert!(result.expect_err("as returned").starts_with("the user's own error"));
        wire.cut(false);
        world.truth.sleep(SECOND * 2).await;
        assert!(world.is_free("x").await, "released in the background");
    });
}

#[test]
fn max_hold_frees_the_lock_of_a_worker_that_hangs() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        let lease = client.lock("x").max_hold(SECOND * 30).acquire().await.expect("the lock");
        let next = other.lock("x");
        let next = spawn(async move { next.acquire().await.map(|lease| lease.fence()) });
        assert_eq!(lease.lost().await, Loss::MaxHold);
        let lost_at = world.truth.elapsed();
        assert!(lost_at <= SECOND * 30 && lost_at > SECOND * 29 - Duration::from_millis(10));
        assert!(!next.is_finished(), "until the deadline the worker may still stop");
        next.await.expect("no panic").expect("the lock");
        assert!(world.truth.elapsed() < SECOND * 31, "not only after another ttl");
    });
}

#[test]
fn busy_and_broken_are_different_errors() {
    on_virtual_time(async |world| {
        let ((holder, _), (client, wire)) = (world.client(), world.client());
        let _lease = hold(&holder, "x").await;
        let lock = client.lock("x").wait(SECOND * 3);
        let busy = lock.acquire().await.expect_err("busy");
        assert_eq!((busy.kind(), busy.outcome()), (Kind::Timeout, Outcome::NotHeld));
        assert_eq!(world.truth.elapsed().as_millis(), 3000);
        assert!(lock.try_acquire().await.expect("an answer").is_none());
        wire.cut(true);
        let broken = lock.try_acquire().await.expect_err("cut off");
        assert_eq!(broken.kind(), Kind::Unavailable);
        assert!(broken.to_string().contains(r#"lock "x" on a wire: the cable is cut"#), "{broken}");
        let broken = lock.acquire().await.expect_err("cut off for all of the wait");
        assert_eq!(broken.kind(), Kind::Unavailable);
        let broken = client.lock("x").acquire().await.expect_err("cut off for long");
        assert_eq!(broken.kind(), Kind::Unavailable);
    });
}

#[test]
fn a_waiter_survives_a_restart_of_the_server() {
    on_virtual_time(async |world| {
        let ((holder, _), (client, wire)) = (world.client(), world.client());
        let lease = hold(&holder, "x").await;
        let waiting = spawn(async move { client.lock("x").acquire().await });
        world.settle().await;
        wire.cut(true);
        world.truth.sleep(SECOND * 5).await;
        world.server.restart();
        wire.cut(false);
        lease.release().await.expect("held");
        waiting.await.expect("no panic").expect("the lock");
    });
}

#[test]
fn a_release_that_is_cancelled_still_releases() {
    on_virtual_time(async |world| {
        let (client, _) = world.client();
        let lease = hold(&client, "x").await;
        assert!(cut_at(1, lease.release()).await.is_none());
        world.settle().await;
        assert!(world.is_free("x").await);
    });
}

#[test]
fn a_lease_is_released_once_and_by_its_drop() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = hold(&client, "x").await;
        lease.release().await.expect("held");
        lease.release().await.expect("as before");
        assert!(!lease.is_valid() && lease.remaining().is_zero());
        assert_eq!(lease.renew().await.expect_err("over").kind(), Kind::NotHeld);
        drop(lease);
        drop(hold(&client, "x").await);
        world.settle().await;
        assert!(world.is_free("x").await);
        assert_eq!(wire.requests()[2], 2);
    });
}

#[test]
fn a_late_release_does_not_touch_the_next_holder() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lock = client.lock("x").auto_renew(false);
        let late = lock.acquire().await.expect("the lock");
        world.truth.sleep(TTL * 2).await;
        let next = lock.acquire().await.expect("the lock");
        assert_eq!(late.release().await.expect_err("lost").kind(), Kind::Lost);
        next.renew().await.expect("still held");
        assert_eq!(wire.requests()[0], 2);
    });
}

#[test]
fn close_gives_back_everything_and_ends_every_wait() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        let (mine, _theirs) = (hold(&client, "x").await, hold(&other, "y").await);
        let waiting = ["x", "y"].map(|name| {
            let lock = client.lock(name);
            spawn(async move { lock.acquire().await })
        });
        world.settle().await;
        client.close().await;
        assert!(world.is_free("x").await);
        assert_eq!(mine.loss(), Some(Loss::Closed));
        for wait in waiting {
            assert_eq!(wait.await.expect("no panic").expect_err("closed").kind(), Kind::Closed);
        }
        assert_eq!(client.lock("z").try_acquire().await.expect_err("closed").code(), "closed");
        world.settle().await;
        assert!(other.status("y").await.expect("a status").expect("held").waiters.is_empty());
        client.close().await;
    });
}

#[test]
fn what_cannot_be_kept_is_refused_with_the_cure() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lock = || client.lock("x");
        let year = Duration::from_secs(365 * 24 * 3600);
        let (huge, label) = ("x".repeat(10_000), "two\nlines");
        let refused = [
            (lock().ttl(Duration::ZERO), "0ns"),
            (lock().ttl(Duration::from_millis(1)), "1ms"),
            (lock().ttl(year), "24h"),
            (lock().max_hold(Duration::from_millis(1)), "max_hold"),
            (lock().label(label), "label"),
            (client.lock(""), "empty"),
            (client.lock(huge), "10000"),
            (client.lock("a\0b"), "NUL"),
        ];
        for (lock, word) in refused {
            let error = lock.acquire().await.expect_err("refused");
            assert_eq!(error.kind(), Kind::Invalid);
            assert!(error.to_string().contains(word), "{error} does not say {word:?}");
        }
        assert_eq!(wire.requests(), [0; 3], "nothing was asked of the backend");
    });
}

#[test]
#[allow(clippy::disallowed_methods)] // blocks on purpose
fn a_blocked_thread_loses_no_lease() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let client = leasehold::connect("memory:").await.expect("a client");
        let lease = client.lock("x").ttl(SECOND).acquire().await.expect("the lock");
        std::thread::sleep(SECOND * 3);
        assert!(lease.is_valid(), "{:?}", lease.loss());
        lease.release().await.expect("held all the time");
    });
}
