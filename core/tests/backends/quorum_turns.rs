//! The turns of those who share a lock of a quorum, as its nodes know them.

use std::sync::Arc;
use std::time::Duration;

use leasehold::backend::quorum::{Ask, Kept, MemoryNode, Node, Role, Vote, Vow};
use leasehold::backend::{Answer, Backend, Claim, Held, Mode, Quorum, Renewal};
use leasehold::runtime::ThreadRuntime;
use leasehold::testing::ManualClock;
use leasehold::time::Clock;
use leasehold::{LockName, Owner};

const LONG: Duration = Duration::from_secs(60 * 60);
const SECOND: Duration = Duration::from_secs(1);

struct Place {
    nodes: Vec<MemoryNode>,
    clock: ManualClock,
    runtime: Arc<ThreadRuntime>,
}

impl Place {
    fn new() -> Self {
        let clock = ManualClock::new();
        let node = || MemoryNode::new(Arc::new(clock.clone()), 2 * LONG);
        let nodes = (0..3).map(|_| node()).collect();
        Self { nodes, clock, runtime: ThreadRuntime::start().expect("a thread") }
    }

    fn client(&self) -> Quorum {
        let nodes = self.nodes.iter().map(|node| Arc::new(node.client()) as Arc<dyn Node>);
        Quorum::new(nodes.collect(), LONG, self.runtime.clone()).expect("a quorum")
    }

    /// What a node says to a vote.
    async fn vote(&self, node: usize, owner: u128, ballot: u64) -> Vote {
        let ask = Ask { claim: shared(owner), ballot, role: Role::Arbiter, wanted: None };
        self.nodes[node].client().vote(&ask).await.expect("an answer").said.vote
    }

    async fn renew(&self, node: usize, owner: u128, ballot: u64, fence: u64) -> Kept {
        let vow = Vow { claim: shared(owner), ballot, fence };
        self.nodes[node].client().renew(&[vow]).await.expect("an answer").said.kept[0]
    }
}

fn shared(owner: u128) -> Claim {
    Claim {
        name: LockName::new("x").expect("a proper name"),
        owner: Owner::from_bits(owner),
        ttl: LONG,
        delay: Duration::ZERO,
        mode: Mode::Shared,
        label: format!("claim {owner}").into(),
        place: None,
        renewed: true,
    }
}

async fn share(client: &Quorum, owner: u128) -> Held {
    for _ in 0..20 {
        match client.claim(&shared(owner)).await.expect("an answer") {
            Answer::Tied => {}
            Answer::Granted { fence, .. } => {
                let Claim { name, owner, mode, ttl, renewed, .. } = shared(owner);
                return Held { name, owner, mode, fence, ttl, renewed };
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("tied for ever");
}

#[tokio::test]
async fn who_has_another_turn_on_each_node_does_not_hold_it() {
    let place = Place::new();
    let now = place.clock.wall_micros();
    for node in 0..3 {
        let vote = place.vote(node, node as u128, now + node as u64).await;
        assert!(matches!(vote, Vote::Granted { .. }), "{vote:?}");
    }
    let client = place.client();
    for _ in 0..5 {
        assert_eq!(client.claim(&shared(7)).await.expect("an answer"), Answer::Tied);
    }
}

#[tokio::test]
async fn an_old_turn_on_one_node_keeps_nobody_from_a_turn_on_the_others() {
    let place = Place::new();
    let now = place.clock.wall_micros();
    assert_eq!(place.renew(0, 1, now - 1, now - 5_000_000).await, Kept::TakenIn);
    let (one, other) = (place.client(), place.client());
    let lease = share(&one, 7).await;
    assert_eq!(share(&other, 8).await.fence, lease.fence);
    let status = one.inspect(Some(&lease.name)).await.expect("an answer").remove(0);
    assert_eq!((status.fence, status.holders.len()), (lease.fence, 2), "{status:?}");
}

#[tokio::test]
async fn what_a_release_gives_back_is_the_ballot_of_the_last_renewal() {
    let place = Place::new();
    let (client, other) = (place.client(), place.client());
    let (lease, kept) = (share(&client, 7).await, share(&other, 8).await);
    place.clock.advance(SECOND);
    // The first renewal brings the clock by which the second one's ballot is chosen.
    for _ in 0..2 {
        let renewed = client.renew(std::slice::from_ref(&lease)).await.expect("one");
        assert_eq!(renewed[0], Renewal::Kept);
    }
    assert!(client.release(&lease, None).await.expect("an answer").held);
    // The renewal comes once more, and late.
    for node in 0..3 {
        let ballot = place.clock.wall_micros() - 1000;
        assert_eq!(place.renew(node, 7, ballot, lease.fence).await, Kept::No);
    }
    place.clock.advance(SECOND);
    assert_eq!(other.renew(std::slice::from_ref(&kept)).await.expect("one")[0], Renewal::Kept);
}

#[tokio::test]
async fn who_shares_brings_its_lease_to_a_node_that_lost_it() {
    let place = Place::new();
    let client = place.client();
    let lease = share(&client, 7).await;
    place.nodes[1].restart(true);
    place.clock.advance(SECOND);
    assert_eq!(client.renew(std::slice::from_ref(&lease)).await.expect("one")[0], Renewal::Kept);
    let seen = || async {
        let seen = place.nodes[1].client().inspect(None).await.expect("an answer");
        seen.said.first().map_or(0, |seen| seen.sharers.len())
    };
    assert_eq!(seen().await, 0, "it is in quarantine");
    place.clock.advance(2 * LONG);
    // The ttl has passed on the others.
    assert_eq!(client.renew(std::slice::from_ref(&lease)).await.expect("one")[0], Renewal::Gone);
    let lease = share(&client, 9).await;
    place.nodes[2].restart(false);
    place.clock.advance(SECOND);
    assert_eq!(client.renew(std::slice::from_ref(&lease)).await.expect("one")[0], Renewal::Kept);
    assert_eq!(seen().await, 1);
}
