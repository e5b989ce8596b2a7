//! The line of a quorum while some nodes have not heard of a release yet.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use leasehold::backend::quorum::{
    Ask, Ends, Evicted, MemoryNode, MemoryNodeClient, News, Node, Renewed, Return, Returned, Said,
    Seen, Signed, Vow,
};
use leasehold::backend::{Answer, Backend, Claim, Held, Mode, Quorum, Wake};
use leasehold::runtime::{BoxFuture, Runtime};
use leasehold::testing::ManualClock;
use leasehold::time::{Clock, Instant};
use leasehold::{Error, LockName, Owner};

const LONG: Duration = Duration::from_secs(60 * 60);
const PLACE: Duration = Duration::from_secs(2);

/// A connection over which releases come late while it `is_slow`.
struct Distant {
    node: MemoryNodeClient,
    is_slow: Arc<AtomicBool>,
}

#[async_trait]
impl Node for Distant {
    async fn vote(&self, ask: &Ask) -> Result<Signed<Said>, Error> {
        self.node.vote(ask).await
    }

    async fn give_back(&self, back: &Return) -> Result<Signed<Returned>, Error> {
        let waits = || back.what == Ends::Lease && self.is_slow.load(Ordering::SeqCst);
        poll_fn(|_| if waits() { Poll::Pending } else { Poll::Ready(()) }).await;
        self.node.give_back(back).await
    }

    async fn renew(&self, leases: &[Vow]) -> Result<Signed<Renewed>, Error> {
        self.node.renew(leases).await
    }

    async fn evict(&self, name: &LockName, up_to: u64) -> Result<Signed<Evicted>, Error> {
        self.node.evict(name, up_to).await
    }

    async fn inspect(&self, name: Option<&LockName>) -> Result<Signed<Vec<Seen>>, Error> {
        self.node.inspect(name).await
    }

    async fn news(&self) -> News {
        self.node.news().await
    }

    fn is_well(&self) -> bool {
        true
    }

    fn clock_at_connect(&self) -> Option<(u64, Instant)> {
        None
    }

    fn describe(&self) -> &str {
        "memory: far away"
    }
}

/// Nothing takes time but what the clock is told.
struct Stillness(ManualClock);

impl Clock for Stillness {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn wall_micros(&self) -> u64 {
        self.0.wall_micros()
    }
}

impl Runtime for Stillness {
    fn sleep(&self, _span: Duration) -> BoxFuture {
        Box::pin(std::future::pending())
    }

    fn spawn(&self, _task: BoxFuture) {
        unreachable!("a quorum does nothing in the background");
    }

    fn random(&self) -> u128 {
        1
    }
}

/// A lock whose holder gives it back, which only the node that keeps the line
/// hears.
struct Scene {
    nodes: Vec<MemoryNode>,
    slow: Vec<Arc<AtomicBool>>,
    clock: ManualClock,
}

impl Scene {
    fn new() -> Self {
        let clock = ManualClock::new();
        let node = || MemoryNode::new(Arc::new(clock.clone()), 2 * LONG);
        let nodes: Vec<_> = (0..3).map(|_| node()).collect();
        let slow = nodes.iter().map(|_| Arc::default()).collect();
        Self { nodes, slow, clock }
    }

    fn client(&self) -> Quorum {
        let nodes = self.nodes.iter().zip(&self.slow).map(|(node, is_slow)| {
            Arc::new(Distant { node: node.client(), is_slow: is_slow.clone() }) as Arc<dyn Node>
        });
        let runtime = Arc::new(Stillness(self.clock.clone()));
        Quorum::new(nodes.collect(), LONG, runtime).expect("a quorum")
    }

    /// Let releases come late wherever the line is not.
    async fn slow_down(&self, name: &LockName) {
        for (node, is_slow) in self.nodes.iter().zip(&self.slow) {
            let seen = node.client().inspect(Some(name)).await.expect("an answer");
            let keeps_line = seen.said.iter().any(|seen| !seen.waiters.is_empty());
            is_slow.store(!keeps_line, Ordering::SeqCst);
        }
    }

    fn speed_up(&self) {
        self.slow.iter().for_each(|is_slow| is_slow.store(false, Ordering::SeqCst));
    }
}

fn claim(owner: u128) -> Claim {
    Claim {
        name: LockName::new("x").expect("a proper name"),
        owner: Owner::from_bits(owner),
        ttl: LONG,
        delay: Duration::ZERO,
        mode: Mode::Exclusive,
        label: format!("claim {owner}").into(),
        place: Some(PLACE),
        renewed: true,
    }
}

async fn ask(client: &Quorum, claim: &Claim) -> Answer {
    client.claim(claim).await.expect("an answer")
}

/// Ask until the ballots are large enough.
async fn settle(client: &Quorum, claim: &Claim) -> Answer {
    loop {
        match ask(client, claim).await {
            Answer::Tied => {}
            answer => return answer,
        }
    }
}

fn is_busy(answer: &Answer) -> bool {
    matches!(answer, Answer::Busy { .. })
}

async fn hold(client: &Quorum, claim: &Claim) -> Held {
    let answer = settle(client, claim).await;
    let Answer::Granted { fence, .. } = answer else { panic!("{answer:?}") };
    let Claim { name, owner, ttl, renewed, .. } = claim.clone();
    Held { name, owner, mode: Mode::Exclusive, fence, ttl, renewed }
}

/// Nothing happens in it before it is looked at again.
fn begin(work: Pin<&mut impl Future>) {
    assert!(work.poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

#[tokio::test]
async fn who_is_first_stays_first_while_others_have_not_heard_of_the_release() {
    let scene = Scene::new();
    let [holder, first, second, newcomer] = [(); 4].map(|()| scene.client());
    let [one, two] = [claim(1), claim(2)];
    let held = hold(&holder, &claim(0)).await;
    assert!(is_busy(&settle(&first, &one).await) && is_busy(&settle(&second, &two).await));
    scene.slow_down(&held.name).await;
    let mut release = Box::pin(holder.release(&held, None));
    begin(release.as_mut());
    assert_eq!(first.wake().await, Wake::Name(held.name.clone()));
    for _ in 0..3 {
        assert_eq!(ask(&first, &one).await, Answer::Tied);
        assert!(is_busy(&ask(&second, &two).await), "the second is served first");
        let try_only = Claim { place: None, ..claim(3) };
        assert!(is_busy(&ask(&newcomer, &try_only).await), "a newcomer is served first");
        scene.clock.advance(PLACE / 2);
    }
    // Who has its turn is not told so again by every vote that it gives back.
    begin(pin!(first.wake()));
    begin(pin!(second.wake()));
    scene.speed_up();
    release.await.expect("an answer");
    assert!(is_busy(&ask(&second, &two).await), "the second is served first");
    let held = hold(&first, &one).await;
    first.release(&held, None).await.expect("an answer");
    assert_eq!(second.wake().await, Wake::Name(held.name.clone()), "when it is its turn");
    hold(&second, &two).await;
}

#[tokio::test]
async fn a_first_that_asks_no_more_costs_the_next_no_more_than_its_place() {
    let scene = Scene::new();
    let [holder, first, second] = [(); 3].map(|()| scene.client());
    let [one, two] = [claim(1), claim(2)];
    let held = hold(&holder, &claim(0)).await;
    assert!(is_busy(&settle(&first, &one).await) && is_busy(&settle(&second, &two).await));
    scene.slow_down(&held.name).await;
    let mut release = Box::pin(holder.release(&held, None));
    begin(release.as_mut());
    assert_eq!(ask(&first, &one).await, Answer::Tied);
    scene.speed_up();
    release.await.expect("an answer");
    scene.clock.advance(PLACE - Duration::from_millis(1));
    assert!(is_busy(&ask(&second, &two).await));
    scene.clock.advance(Duration::from_millis(1));
    hold(&second, &two).await;
}
