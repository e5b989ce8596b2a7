//! A quorum of independent nodes: Redlock, with ballots.
//!
//! Built on the published Redlock algorithm
//! (<https://redis.io/docs/latest/develop/use/patterns/distributed-locks/>), on
//! what Kleppmann found missing in it (*How to do distributed locking*, 2016),
//! and on ballots as in Lamport's *Paxos made simple* (2001).
//!
//! A client chooses the fence before it asks: a ballot, in microseconds, by the
//! clocks of the nodes. A node grants only ballots larger than any that it has
//! granted or seen used up. Two majorities share a node, so the fences of the
//! lock rise. A node that may have lost data grants nothing until all leases
//! that it may have forgotten are over, and afterwards only ballots larger than
//! the end of that time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::{
    Answer, Backend, Claim, Ear, Held, Mode, Released, Renewal, Status, Wake, cannot_rest,
};
use crate::error::{Error, Kind, Outcome};
use crate::name::LockName;
use crate::runtime::Runtime;
use crate::time::Instant;

mod attempts;
mod ballots;
mod claim;
mod evict;
mod memory;
mod merge;
mod node;
mod owed;
mod release;
mod renew;
pub(crate) mod round;
mod slot;
mod tally;
mod turn;

use attempts::{Attempts, Standing};
use ballots::Ballots;
pub use memory::{MemoryNode, MemoryNodeClient};
pub use node::{
    Ask, CLAMP, Ends, Evicted, FOREIGN, Kept, News, Node, Renewed, Return, Returned, Role, Said,
    Seen, ServerId, Signed, Vote, Vow,
};
use owed::{Debt, Owed};
use round::Round;

/// A node that has not answered for this long is not waited for, if the others
/// will do.
pub(crate) const LAG: Duration = Duration::from_millis(250);

/// One client's connections to the nodes of a quorum, as a backend.
///
/// # URL
/// `redlock://HOST:PORT,HOST:PORT,HOST:PORT` names three, five or more
/// independent Redis servers, 6.2 or newer, or Valkey. Each can also be a whole
/// URL as for [`Redis`](super::Redis), as in
/// `redlock:rediss://:PASSWORD@a,rediss://:PASSWORD@b,rediss://:PASSWORD@c`;
/// write `%2C` for a comma in a password. All clients name the same nodes, in
/// any order; what they agree on stands on every node under the key
/// `PREFIX\0epoch`, and which of the nodes it is. A name that comes to
/// lead to another node's server is `refused`, and tried again: one server has
/// one vote. Options follow as a query:
///
/// * `max_ttl=30s`: the longest ttl. So long and a little more a node that may
///   have lost data grants nothing.
/// * `quarantine=strict`: not even when no node has a record of ever having been
///   used. Otherwise that counts as a first deployment and locks can be taken at
///   once, and servers that *all* lose their data look the same.
/// * `prefix=leasehold:` and `ca=FILE`, as for [`Redis`](super::Redis).
/// * `remember=24h`, from `1h` to `30d`: for how long after its last use a name is
///   remembered, as for [`Redis`](super::Redis); here all clients must say the same.
///
/// # What it promises
/// One holder at a time and rising fences while nodes die, hang, and lose their
/// data, as long as their wall clocks do not jump ahead: Redis ends keys by them.
/// The fence is chosen by the nodes' clocks, never by the client's. If clocks
/// jump, leases may end early; fences rise all the same on nodes that keep their
/// data. Locks can be taken while a majority is alive and out of quarantine. The assumptions, and the tests that would break, are in
/// `docs/promises.md`.
///
/// A lease is taken with a majority of the votes and comes to the other nodes
/// with its renewals. An error `unavailable` names the nodes that did not answer.
///
/// # Waiting
/// One node keeps the line of a lock: the first that answers, in an order of the
/// lock's own. A release wakes the first of that line. If the node dies, who
/// waits stands in the line of the next within 600 ms, in any order.
///
/// # Locks that are shared
/// All who share a lock at the same time have one fence, that of their turn. They share it
/// while a majority of the nodes has them in that turn; each has a lease of its own. On each
/// node the plain key of the lock lives as long as the last of them and is no owner's, so
/// clients of the published algorithm stay out, and older clients of ours find it busy.
/// Nobody joins a turn on a node that may know it from before a writer: one that lost
/// the turn, or was out of reach for a ttl, and was asked for later ballots, or was in
/// quarantine. Where that is so on too many nodes, whoever comes waits until all who share
/// it have ended. Locks with permits are `unsupported`: each majority would grant all of
/// them.
///
/// # Access
/// As for [`Redis`](super::Redis), on each node.
pub struct Quorum {
    nodes: Vec<Arc<dyn Node>>,
    /// Until when each grants nothing, in nanoseconds of our clock.
    closed_until: Vec<AtomicU64>,
    runtime: Arc<dyn Runtime>,
    max_ttl: Duration,
    /// How long the slowest of the nodes is waited for.
    response_timeout: Duration,
    ballots: Ballots,
    attempts: Attempts,
    /// When each node was last asked for something that it may have done since.
    asked: Arc<[AtomicU64]>,
    owed: Owed,
    shown: String,
}

impl Quorum {
    /// A client of these nodes, which share nothing and which all clients name
    /// alike. The quarantine of the nodes is longer than `max_ttl`.
    ///
    /// # Errors
    /// `refused` for an even number of nodes, or one.
    pub fn new(
        nodes: Vec<Arc<dyn Node>>,
        max_ttl: Duration,
        runtime: Arc<dyn Runtime>,
    ) -> Result<Self, Error> {
        check_number(nodes.len())?;
        let shown = nodes.iter().map(|node| node.describe().trim_start_matches("redis://"));
        let shown = format!("redlock://{}", shown.collect::<Vec<_>>().join(","));
        let ballots = Ballots::of(nodes.len());
        for (number, node) in nodes.iter().enumerate() {
            if let Some((micros, at)) = node.clock_at_connect() {
                ballots.read(number, micros, at);
            }
        }
        let closed_until = nodes.iter().map(|_| AtomicU64::new(0)).collect();
        let asked = nodes.iter().map(|_| AtomicU64::new(0)).collect();
        let timeouts = nodes.iter().map(|node| node.response_timeout());
        let response_timeout = timeouts.max().unwrap_or_default();
        let (attempts, owed) = (Attempts::new(response_timeout), Owed::to(nodes.len()));
        Ok(Self {
            nodes,
            closed_until,
            runtime,
            max_ttl,
            response_timeout,
            ballots,
            attempts,
            asked,
            owed,
            shown,
        })
    }

    /// Connect to the Redis servers that a `redlock:` URL names; see above.
    ///
    /// # Errors
    /// `unavailable` when a majority cannot be reached; `refused` when a server
    /// does not accept the user, when other clients use it with other nodes or
    /// another `max_ttl`, and for nodes that make no quorum; `invalid` for a URL
    /// that cannot be read.
    #[cfg(feature = "redis")]
    pub async fn connect(url: &str, runtime: Arc<dyn Runtime>) -> Result<Self, Error> {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let options: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let list = address.strip_prefix("redlock:").unwrap_or(address);
        super::redis::Redlock::parse(list, &options)?.connect(runtime).await
    }

    /// How many nodes decide.
    fn majority(&self) -> usize {
        self.nodes.len() / 2 + 1
    }

    /// The node that keeps the line of a lock: the first that is well, in an
    /// order of the lock's own, so that the lines are spread over the nodes.
    /// Only order depends on it: who thinks of another waits in another line.
    fn arbiter(&self, name: &LockName) -> usize {
        let fnv = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = name.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
        let first = (hash % self.nodes.len() as u64) as usize;
        let mut order = (first..self.nodes.len()).chain(0..first);
        let now = self.runtime.now();
        let keeps_line = |node: usize| {
            let is_open = self.closed_until[node].load(Ordering::Relaxed) <= now.as_nanos();
            // One whose clock is behind grants nothing, and its line would not move.
            is_open && self.nodes[node].is_well() && self.ballots.is_in_step(node, now)
        };
        order.find(|node| keeps_line(*node)).unwrap_or(first)
    }

    /// A node grants nothing before `until`.
    fn close(&self, node: usize, until: Instant) {
        self.closed_until[node].store(until.as_nanos(), Ordering::Relaxed);
    }

    fn choose_ballot(&self, lead: Duration) -> u64 {
        self.ballots.next(lead, self.runtime.now())
    }
}

/// Of how many nodes a quorum can be made.
pub(crate) fn check_number(nodes: usize) -> Result<(), Error> {
    let cure = match nodes {
        0 | 1 => "use redis:// for one server, and three or five for a quorum",
        _ if nodes.is_multiple_of(2) => {
            "of an even number one more must answer, and no more may fail: \
                                leave one out or add one"
        }
        _ => return Ok(()),
    };
    Err(Error::new(Kind::Refused, format!("a quorum of {nodes} nodes: {cure}")))
}

impl Quorum {
    /// A lease longer than the quarantine could outlive it.
    fn check_ttl(&self, ttl: Duration) -> Result<(), Error> {
        let max_ttl = self.max_ttl;
        if ttl <= max_ttl {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "a ttl of {ttl:?}, the delay included, is more than the {max_ttl:?} of max_ttl, for \
             which a node that was restarted is not trusted; ask for less, or raise max_ttl in \
             every client's URL"
        )))
    }
}

#[async_trait]
impl Backend for Quorum {
    async fn claim(&self, claim: &Claim) -> Result<Answer, Error> {
        self.supports(claim.mode)?;
        self.check_ttl(claim.ttl)?;
        let is_new = self.attempts.find(claim.owner).is_none();
        self.ask(claim).await.inspect_err(|e| {
            if is_new && e.outcome() == Outcome::NotHeld {
                self.attempts.forget(claim.owner);
            }
        })
    }

    async fn renew(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        self.renew_or_heal(leases).await
    }

    async fn release(&self, held: &Held, then: Option<&Claim>) -> Result<Released, Error> {
        then.map_or(Ok(()), |then| self.supports(then.mode))?;
        // Where others may share it, there is nobody to hand it to: who comes next asks.
        let (next, joins) = match then {
            Some(then) if held.mode.is_shared() || then.mode.is_shared() => (None, Some(then)),
            next => (next, None),
        };
        let released = self.hand_back(held, next).await?;
        let Some(joins) = joins else { return Ok(released) };
        // Without a quorum it finds out by asking.
        let next = self.claim(joins).await.unwrap_or(Answer::Tied);
        Ok(Released { next: Some(next), ..released })
    }

    async fn withdraw(&self, claim: &Claim) -> Result<(), Error> {
        let Some(attempt) = self.attempts.retire(claim.owner) else { return Ok(()) };
        let back = Arc::new(Return {
            name: claim.name.clone(),
            owner: claim.owner,
            mode: attempt.claim.mode,
            ballot: attempt.ballot,
            what: Ends::Attempt,
            next: None,
        });
        let debt = Debt { back, until: self.attempts.end(self.runtime.now(), claim.ttl) };
        let round = Round::of_all(self.nodes.iter().map(|node| debt.ask(node)));
        let mut round = self.ask_all(round, |_| true).await?;
        // Also those that are slow.
        self.owe_rest(&mut round, Some(attempt.began), &debt);
        self.attempts.forget(claim.owner);
        Ok(())
    }

    async fn evict(&self, name: &LockName) -> Result<bool, Error> {
        self.evict_for_good(name).await
    }

    async fn relabel(&self, held: &Held, label: &Arc<str>) -> Result<bool, Error> {
        // Nodes that do not hear of it now hear of it by the next renewal.
        self.attempts.relabel(held.owner, label);
        match self.renew_or_heal(std::slice::from_ref(held)).await?.first() {
            Some(Renewal::Kept) => Ok(true),
            Some(Renewal::Gone) | None => Ok(false),
            Some(Renewal::Unknown) => {
                let message = "too few nodes answered; the others hear of it with the next renewal";
                Err(Error::unavailable(message).with_outcome(Outcome::Unknown))
            }
        }
    }

    async fn inspect(&self, name: Option<&LockName>) -> Result<Vec<Status>, Error> {
        let round = Round::of_all(self.nodes.iter().map(|node| node.inspect(name)));
        let round = self.ask_patiently(round).await?;
        let silent = self.nodes.len() - round.answers().count();
        Ok(merge::merge(round.answers().flatten().cloned(), silent, self.majority()))
    }

    async fn wake(&self) -> Wake {
        let mut news: Vec<_> = self.nodes.iter().map(|node| node.news()).collect();
        let (node, news) = loop {
            let look_at = self.owed.look_after(&self.nodes, self.runtime.now());
            let look_again = async {
                match look_at {
                    Some(at) => self.runtime.sleep(at.since(self.runtime.now())).await,
                    None => self.owed.begun.notified().await,
                }
            };
            tokio::select! {
                biased;
                next = node::next(&mut news) => break next,
                () = look_again => {}
            }
        };
        match news {
            News::Turn { name, owner, waiting } => {
                let standing = Standing::First(waiting);
                self.attempts.change(owner, |attempt| attempt.standing = standing);
                Wake::Name(name)
            }
            News::Gone(name) => Wake::Name(name),
            News::Reconnected => {
                self.owed.retry(node);
                Wake::All
            }
        }
    }

    fn supports(&self, mode: Mode) -> Result<(), Error> {
        if mode == Mode::Shared {
            return Ok(());
        }
        mode.refuse_unless_exclusive(
            "each majority of the nodes would grant all permits, so more would hold it than there \
             are",
        )
    }

    fn tickets(&self, _: Duration) -> Result<&'static str, Error> {
        let message = "a quorum cannot hand a lease to another process: each node would change \
                       the owner by itself, and a lease that too few have changed is nobody's; \
                       release it here, and take it there";
        Err(Error::new(Kind::Unsupported, message))
    }

    fn supports_rest(&self) -> Result<(), Error> {
        Err(cannot_rest(
            "of several nodes each would let the lock rest, or not, by itself when a release \
             reaches only some",
        ))
    }

    fn listen(&self, ear: Arc<dyn Ear>) {
        self.nodes.iter().for_each(|node| node.listen(ear.clone()));
    }

    fn response_timeout(&self) -> Duration {
        self.response_timeout
    }

    async fn settle(&self) {
        self.pay_all().await;
    }

    fn caveats(&self) -> Vec<String> {
        let by_name = self.nodes.iter().flat_map(|node| {
            let name = node.describe();
            node.caveats().into_iter().map(move |caveat| format!("{name}: {caveat}"))
        });
        by_name.collect()
    }

    fn describe(&self) -> &str {
        &self.shown
    }
}
