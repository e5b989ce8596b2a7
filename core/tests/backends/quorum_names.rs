//! A quorum two of whose names lead to one server.

use std::sync::Arc;
use std::time::Duration;

use leasehold::backend::quorum::{MemoryNode, Node};
use leasehold::backend::{Answer, Backend, Claim, Held, Mode, Quorum, Renewal};
use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::time::Clock;
use leasehold::{LockName, Owner};

const LONG: Duration = Duration::from_secs(60 * 60);

struct Names {
    nodes: Vec<MemoryNode>,
    runtime: Arc<ThreadRuntime>,
}

impl Names {
    fn new() -> Self {
        let runtime = ThreadRuntime::start().expect("a thread");
        let clock: Arc<dyn Clock> = runtime.clone();
        let nodes = (0..3).map(|_| MemoryNode::new(clock.clone(), 2 * LONG)).collect();
        Self { nodes, runtime }
    }

    /// A client whose names lead to these of the servers.
    fn client(&self, servers: [usize; 3]) -> Quorum {
        let node = |server: usize| Arc::new(self.nodes[server].client()) as Arc<dyn Node>;
        let runtime: Arc<dyn Runtime> = self.runtime.clone();
        Quorum::new(servers.map(node).to_vec(), LONG, runtime).expect("a quorum")
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
        place: None,
        renewed: true,
    }
}

async fn try_hold(client: &Quorum, claim: &Claim) -> Option<Held> {
    loop {
        match client.claim(claim).await {
            Ok(Answer::Tied) => {}
            Ok(Answer::Granted { fence, .. }) => {
                let Claim { name, owner, ttl, renewed, .. } = claim.clone();
                return Some(Held { name, owner, mode: Mode::Exclusive, fence, ttl, renewed });
            }
            Ok(_) | Err(_) => return None,
        }
    }
}

#[tokio::test]
async fn a_server_with_two_names_has_one_vote() {
    let names = Names::new();
    let (right, wrong) = (names.client([0, 1, 2]), names.client([1, 1, 2]));
    // As if it had not reached the second server.
    let some = names.client([0, 0, 2]);
    let held = try_hold(&some, &claim(1)).await.expect("two servers are a majority");
    let second = try_hold(&wrong, &claim(2)).await;
    assert_eq!(second.map(|held| held.fence), None, "two hold it");
    assert_eq!(right.renew(&[held]).await.expect("answers"), [Renewal::Kept]);
}

#[tokio::test]
async fn a_server_with_two_names_renews_and_releases_for_one() {
    let names = Names::new();
    let (right, wrong) = (names.client([0, 1, 2]), names.client([1, 1, 1]));
    let held = try_hold(&right, &claim(1)).await.expect("it is free");
    let error = wrong.renew(std::slice::from_ref(&held)).await.expect_err("one server");
    assert!(error.to_string().contains("one server has one vote"), "{error}");
    let error = wrong.release(&held, None).await.expect_err("one server");
    assert!(error.to_string().contains("1 of 3 nodes answered"), "{error}");
}
