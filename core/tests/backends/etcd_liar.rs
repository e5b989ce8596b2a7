//! The etcd backend on a cluster that changes its answers: whatever it says,
//! nobody holds what was not given.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use leasehold::backend::etcd::cluster::{
    Change, Cluster, Done, Failure, Keys, News, Order, Read, SessionId, Step, Txn,
};
use leasehold::backend::etcd::{MemoryCluster, MemoryClusterClient};
use leasehold::backend::{Answer, Backend, Claim, Etcd, Held, Mode, Renewal};
use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::time::SystemClock;
use leasehold::{Error, LockName, Owner};

const ROUNDS: u128 = 4_000;

/// Answers truly but for one time in four.
struct Liar {
    client: MemoryClusterClient,
    random: AtomicU64,
    /// What was answered before.
    before: std::sync::Mutex<Vec<Done>>,
}

impl Liar {
    fn random(&self, below: u64) -> u64 {
        let step = |state: u64| {
            let state = state ^ (state << 13);
            let state = state ^ (state >> 7);
            state ^ (state << 17)
        };
        let next = |state| Some(step(state));
        let state = self.random.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
        (step(state.unwrap()) >> 11) % below
    }

    fn lies(&self) -> bool {
        self.random(4) == 0
    }

    fn change(&self, done: &mut Done) {
        let other = {
            let before = self.before.lock().unwrap();
            let index = self.random(before.len().max(1) as u64) as usize;
            before.get(index).cloned().unwrap_or_default()
        };
        match self.random(13) {
            0 => done.met = !done.met,
            1 => drop(done.reads.pop()),
            2 => done.reads.reverse(),
            3 => *done = other,
            4 => done.deleted = other.deleted,
            5 => done.reads.iter_mut().for_each(|found| found.entries.clear()),
            6 => done.reads.iter_mut().for_each(|found| found.entries.truncate(1)),
            7 => done.revision = done.revision.saturating_sub(self.random(5)),
            kind => {
                for entry in done.reads.iter_mut().flat_map(|found| &mut found.entries) {
                    match kind {
                        8 => entry.created = entry.created.saturating_sub(self.random(3)),
                        9 => entry.value = "somebody, held since ever".to_owned(),
                        10 => entry.session = Some(SessionId(self.random(9) as i64)),
                        11 => entry.session = None,
                        _ => entry.key.push('0'),
                    }
                }
            }
        }
    }
}

#[async_trait]
impl Cluster for Liar {
    async fn txn(&self, txn: &Txn) -> Result<Done, Failure> {
        let mut done = self.client.txn(txn).await?;
        let true_one = done.clone();
        if self.lies() {
            self.change(&mut done);
        }
        let mut before = self.before.lock().unwrap();
        if before.len() >= 64 {
            before.remove(0);
        }
        before.push(true_one);
        Ok(done)
    }

    async fn open(&self, seconds: u64) -> Result<(SessionId, Duration), Error> {
        let (id, ttl) = self.client.open(seconds).await?;
        Ok(match self.random(16) {
            0 => (SessionId(id.0 - 1), ttl),
            1 => (id, Duration::ZERO),
            2 => (id, Duration::MAX),
            _ => (id, ttl),
        })
    }

    async fn keep_alive(&self, session: SessionId) -> Result<Option<Duration>, Error> {
        let ttl = self.client.keep_alive(session).await?;
        Ok(match self.random(16) {
            0 => Some(Duration::MAX),
            1 => Some(Duration::from_nanos(1)),
            2 => None,
            _ => ttl,
        })
    }

    async fn end(&self, session: SessionId) -> Result<(), Error> {
        self.client.end(session).await
    }

    async fn ends_in(&self, session: SessionId) -> Result<Option<Duration>, Error> {
        self.client.ends_in(session).await
    }

    fn watch(&self, key: &str, change: Change, after: u64) {
        self.client.watch(key, change, after);
    }

    fn unwatch(&self, key: &str) {
        self.client.unwatch(key);
    }

    async fn news(&self) -> News {
        self.client.news().await
    }

    fn describe(&self) -> &str {
        "a liar"
    }
}

/// Half of all are exclusive.
const MODES: [Mode; 4] =
    [Mode::Exclusive, Mode::Shared, Mode::Exclusive, Mode::Counted { permits: 2 }];

fn claim(number: u128, waits: bool, renewed: bool) -> Claim {
    // At two seconds it can hold the lock in the session in which it has waited.
    let ttl = Duration::from_secs(if number.is_multiple_of(5) { 2 } else { 60 });
    Claim {
        name: LockName::new("x").unwrap(),
        owner: Owner::from_bits(number),
        ttl,
        delay: Duration::ZERO,
        // Those of one round use it in one way, whoever waits or is renewed.
        mode: MODES[(number / 8 / 6 % 4) as usize],
        label: "test".into(),
        place: waits.then_some(Duration::from_secs(2)),
        renewed,
    }
}

const RIVAL: &str = "x/#0";

async fn run(cluster: &MemoryClusterClient, step: Step) {
    cluster.txn(&Txn { then: vec![step], ..Txn::default() }).await.unwrap();
}

/// The fence of whoever holds it alone, or opened the turn or took the permit last, and
/// the key.
async fn holder(cluster: &MemoryClusterClient) -> Option<(String, u64)> {
    let keys = Keys::Under("x/#".to_owned());
    let oldest = Read { keys, before: None, order: Order::OldestFirst, limit: 1 };
    let txn = Txn { then: vec![Step::Read(oldest)], ..Txn::default() };
    let found = cluster.txn(&txn).await.unwrap().reads.remove(0);
    found.entries.into_iter().next().map(|entry| {
        let is_alone = !entry.value.contains(" [");
        (entry.key, if is_alone { entry.created } else { entry.written })
    })
}

#[tokio::test]
async fn what_a_cluster_says_is_not_believed_because_it_says_it() {
    let runtime: Arc<dyn Runtime> = ThreadRuntime::start().unwrap();
    let (mut grants, mut kept) = (0, 0);
    for number in 1..=ROUNDS {
        let memory = MemoryCluster::new(Arc::new(SystemClock));
        let truth = memory.client();
        let cluster = Arc::new(Liar {
            client: memory.client(),
            random: AtomicU64::new((number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            before: std::sync::Mutex::default(),
        });
        let opened = Etcd::over(cluster, "", runtime.clone()).await;
        let Ok(etcd) = opened else { continue };
        for attempt in 0..3 {
            let asked = claim(number * 8 + attempt, number % 2 == 0, number % 3 != 0);
            // Somebody else may hold it, and who waits is told all kinds of things.
            let is_rivalled = attempt == 1;
            if is_rivalled {
                let (key, value) = (RIVAL.to_owned(), "rival".to_owned());
                run(&truth, Step::Put { key, value, session: None }).await;
            }
            for _ in 0..if is_rivalled { 6 } else { 2 } {
                let Ok(Answer::Granted { fence, .. }) = etcd.claim(&asked).await else { continue };
                grants += 1;
                let (name, owner, ttl) = (asked.name.clone(), asked.owner, asked.ttl);
                let held =
                    Held { name, owner, mode: asked.mode, fence, ttl, renewed: asked.renewed };
                let theirs = holder(&truth).await.expect("somebody holds it");
                assert_eq!(theirs.1, fence, "round {number}");
                let key = etcd.key(&held);
                assert!(key.is_none_or(|key| key == theirs.0), "round {number}");
                let renewed = etcd.renew(std::slice::from_ref(&held)).await;
                if renewed.is_ok_and(|answers| answers == [Renewal::Kept]) {
                    kept += 1;
                    assert_eq!(holder(&truth).await, Some(theirs.clone()), "round {number}");
                }
                // It may be gone before it is given back.
                let is_gone = attempt == 2;
                if is_gone {
                    run(&truth, Step::Delete(theirs.0.clone())).await;
                }
                if etcd.release(&held, None).await.is_ok_and(|released| released.held) {
                    assert!(!is_gone, "round {number}: released, and was not held");
                    assert_ne!(holder(&truth).await, Some(theirs), "round {number}");
                }
                break;
            }
            drop(etcd.withdraw(&asked).await);
            run(&truth, Step::Delete(RIVAL.to_owned())).await;
        }
    }
    assert!(grants > ROUNDS / 4 && kept > ROUNDS / 8, "{grants} grants, {kept} kept");
}
