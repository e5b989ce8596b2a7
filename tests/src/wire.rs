//! One client or several in fair weather, on virtual time, over a connection
//! whose requests are counted and that can be cut.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use leasehold::backend::{
    Answer, Backend, Claim, GRANT_WINDOW, Heir, Held, Memory, MemoryClient, Mode, Released,
    Renewal, Status, Transferred, Wake,
};
use leasehold::{Client, Error, Kind, Lease, LockName, Options, Outcome};

use crate::world::{Machine, TrueClock};

/// Virtual time in which every test is done.
const STUCK: Duration = Duration::from_secs(3600);

/// The ttl of every lock that sets none.
pub const TTL: Duration = Duration::from_secs(9);

/// A connection that counts its requests, and can be cut or slowed down.
pub struct Wire {
    inner: MemoryClient,
    truth: TrueClock,
    claims: AtomicU64,
    renewals: AtomicU64,
    releases: AtomicU64,
    withdrawals: AtomicU64,
    transfers: AtomicU64,
    transfer_takes: AtomicU64,
    label_takes: AtomicU64,
    lost_answers: AtomicU64,
    failure: Mutex<Option<(Kind, Outcome)>>,
    lost_renewals: Mutex<Option<String>>,
    panics: AtomicBool,
    claim_takes: AtomicU64,
    claims_scatter: AtomicU64,
    renewal_takes: AtomicU64,
    lease_takes: AtomicU64,
    /// What is renewed passes it one request after the other.
    narrow: tokio::sync::Mutex<()>,
    deaf: AtomicBool,
    release_takes: AtomicU64,
    response_timeout: AtomicU64,
    looks: AtomicU64,
    look_takes: AtomicU64,
    rests: AtomicU64,
    loses_rests: AtomicBool,
}

impl Wire {
    /// As `?response_timeout=` in a URL.
    pub fn wait_for_answers(&self, timeout: Duration) {
        self.response_timeout.store(timeout.as_millis() as u64, Ordering::SeqCst);
    }

    /// How long the answer to a claim is on its way from now on.
    pub fn slow_claims(&self, takes: Duration) {
        self.claim_takes.store(takes.as_millis() as u64, Ordering::SeqCst);
    }

    /// A claim is on its way to the server for up to this long from now on, each for another time.
    pub fn scatter_claims(&self, most: Duration) {
        self.claims_scatter.store(most.as_millis() as u64, Ordering::SeqCst);
    }

    /// How long the answer to a renewal is on its way from now on.
    pub fn slow_renewals(&self, takes: Duration) {
        self.renewal_takes.store(takes.as_millis() as u64, Ordering::SeqCst);
    }

    /// How long a release is on its way to the server from now on, and as long back.
    pub fn slow_releases(&self, takes: Duration) {
        self.release_takes.store(takes.as_millis() as u64, Ordering::SeqCst);
    }

    /// How long the answer to who holds a lock is on its way from now on.
    pub fn slow_looks(&self, takes: Duration) {
        self.look_takes.store(takes.as_millis() as u64, Ordering::SeqCst);
    }

    /// How often it was asked who holds a lock, or told what a holder shows.
    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::SeqCst)
    }

    /// How long a transfer is on its way to the server from now on, and as long back.
    pub fn slow_transfers(&self, takes: Duration) {
        self.transfer_takes.store(takes.as_millis() as u64, Ordering::SeqCst);
    }

    /// So long takes the answer to the next change of a label.
    pub fn slow_label(&self, takes: Duration) {
        self.label_takes.store(takes.as_millis() as u64, Ordering::SeqCst);
    }

    /// The next so many transfers are carried out, and their answers are lost.
    pub fn lose_answers(&self, many: u64) {
        self.lost_answers.store(many, Ordering::SeqCst);
    }

    /// How many transfers were asked for.
    pub fn transfers(&self) -> u64 {
        self.transfers.load(Ordering::SeqCst)
    }

    /// A release that lets the lock rest is carried out and its answer lost from now on, or
    /// not any more.
    pub fn lose_rests(&self, lost: bool) {
        self.loses_rests.store(lost, Ordering::SeqCst);
    }

    /// How many of those were carried out.
    pub fn rests(&self) -> u64 {
        self.rests.load(Ordering::SeqCst)
    }

    /// What the server tells unasked is lost from now on, or not any more.
    pub fn deafen(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::SeqCst);
    }

    /// How long each lease of a renewal is on its way from now on, one after the
    /// other.
    pub fn narrow_renewals(&self, takes: Duration) {
        self.lease_takes.store(takes.as_micros() as u64, Ordering::SeqCst);
    }

    fn check(&self, count: &AtomicU64) -> Result<(), Error> {
        count.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics.swap(false, Ordering::SeqCst), "a bug of the backend, on purpose");
        match *self.failure.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some((kind, outcome)) => {
                Err(Error::new(kind, "the cable is cut").with_outcome(outcome))
            }
        }
    }

    /// Cut the cable, or mend it.
    pub fn cut(&self, cut: bool) {
        self.fail(cut.then_some((Kind::Unavailable, Outcome::NotHeld)));
    }

    /// Every request fails so from now on, or none.
    pub fn fail(&self, failure: Option<(Kind, Outcome)>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    /// Of renewals of the lock of this name there is no answer from now on.
    pub fn lose_renewals_of(&self, name: &str) {
        *self.lost_renewals.lock().unwrap_or_else(PoisonError::into_inner) = Some(name.into());
    }

    fn is_lost(&self, held: &Held) -> bool {
        let lost = self.lost_renewals.lock().unwrap_or_else(PoisonError::into_inner);
        lost.as_deref() == Some(held.name.as_str())
    }

    /// The next request panics.
    pub fn panic(&self) {
        self.panics.store(true, Ordering::SeqCst);
    }

    /// How many withdrawals were asked for.
    pub fn withdrawals(&self) -> u64 {
        self.withdrawals.load(Ordering::SeqCst)
    }

    /// How many claims, renewals and releases were asked for.
    pub fn requests(&self) -> [u64; 3] {
        [&self.claims, &self.renewals, &self.releases].map(|count| count.load(Ordering::SeqCst))
    }
}

#[async_trait]
impl Backend for Wire {
    async fn claim(&self, claim: &Claim) -> Result<Answer, Error> {
        self.check(&self.claims)?;
        let scatter = u128::from(self.claims_scatter.load(Ordering::SeqCst));
        if scatter > 0 {
            let takes = (claim.owner.bits() % scatter) as u64;
            self.truth.sleep(Duration::from_millis(takes)).await;
        }
        let answer = self.inner.claim(claim).await?;
        let millis = self.claim_takes.load(Ordering::SeqCst);
        if millis > 0 {
            self.truth.sleep(Duration::from_millis(millis)).await;
        }
        Ok(answer)
    }

    async fn renew(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        self.check(&self.renewals)?;
        let mut answers = self.inner.renew(leases).await?;
        for (answer, _) in answers.iter_mut().zip(leases).filter(|(_, held)| self.is_lost(held)) {
            *answer = Renewal::Unknown;
        }
        let micros = self.lease_takes.load(Ordering::SeqCst);
        if micros > 0 {
            let _others_wait = self.narrow.lock().await;
            self.truth.sleep(Duration::from_micros(micros) * leases.len() as u32).await;
        }
        let millis = self.renewal_takes.load(Ordering::SeqCst);
        self.truth.sleep(Duration::from_millis(millis)).await;
        Ok(answers)
    }

    async fn release(&self, held: &Held, then: Option<&Claim>) -> Result<Released, Error> {
        self.check(&self.releases)?;
        // As over a network: the answer is not there at once.
        let way = Duration::from_millis(self.release_takes.load(Ordering::SeqCst));
        self.truth.sleep(way + Duration::from_millis(1)).await;
        let released = self.inner.release(held, then).await;
        if !way.is_zero() {
            self.truth.sleep(way).await;
        }
        released
    }

    async fn rest(&self, held: &Held, rest: Duration) -> Result<Released, Error> {
        self.check(&self.releases)?;
        let way = Duration::from_millis(self.release_takes.load(Ordering::SeqCst));
        self.truth.sleep(way + Duration::from_millis(1)).await;
        let released = self.inner.rest(held, rest).await?;
        self.truth.sleep(way).await;
        self.rests.fetch_add(1, Ordering::SeqCst);
        match self.loses_rests.load(Ordering::SeqCst) {
            true => {
                let error = Error::new(Kind::Unavailable, "the answer was lost");
                Err(error.with_outcome(Outcome::Unknown))
            }
            false => Ok(released),
        }
    }

    async fn withdraw(&self, claim: &Claim) -> Result<(), Error> {
        self.check(&self.withdrawals)?;
        self.inner.withdraw(claim).await
    }

    async fn transfer(&self, held: &Held, to: &Claim, heir: Heir) -> Result<Transferred, Error> {
        self.check(&self.transfers)?;
        let way = Duration::from_millis(self.transfer_takes.load(Ordering::SeqCst));
        self.truth.sleep(way + Duration::from_millis(1)).await;
        let answer = self.inner.transfer(held, to, heir).await;
        if !way.is_zero() {
            self.truth.sleep(way).await;
        }
        let less = |lost: u64| lost.checked_sub(1);
        if self.lost_answers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
            let error = Error::new(Kind::Unavailable, "the answer is lost");
            return Err(error.with_outcome(Outcome::Unknown));
        }
        answer
    }

    fn tickets(&self, lasts: Duration) -> Result<&'static str, Error> {
        self.inner.tickets(lasts)
    }

    async fn evict(&self, name: &LockName) -> Result<bool, Error> {
        self.inner.evict(name).await
    }

    async fn relabel(&self, held: &Held, label: &Arc<str>) -> Result<bool, Error> {
        self.check(&self.looks)?;
        let answer = self.inner.relabel(held, label).await;
        let millis = self.label_takes.swap(0, Ordering::SeqCst);
        self.truth.sleep(Duration::from_millis(millis)).await;
        answer
    }

    async fn inspect(&self, name: Option<&LockName>) -> Result<Vec<Status>, Error> {
        self.check(&self.looks)?;
        let found = self.inner.inspect(name).await;
        let millis = self.look_takes.load(Ordering::SeqCst);
        self.truth.sleep(Duration::from_millis(millis)).await;
        found
    }

    async fn wake(&self) -> Wake {
        loop {
            let wake = self.inner.wake().await;
            if !self.deaf.load(Ordering::SeqCst) {
                return wake;
            }
        }
    }

    fn response_timeout(&self) -> Duration {
        Duration::from_millis(self.response_timeout.load(Ordering::SeqCst))
    }

    fn supports(&self, mode: Mode) -> Result<(), Error> {
        self.inner.supports(mode)
    }

    fn supports_rest(&self) -> Result<(), Error> {
        self.inner.supports_rest()
    }

    fn describe(&self) -> &str {
        "a wire"
    }
}

/// Some clients of one server.
pub struct World {
    /// The one time that they share.
    pub truth: TrueClock,
    /// Their server.
    pub server: Memory,
    /// Owners are unique among clients because their randomness is.
    seeds: AtomicU64,
}

impl World {
    /// The same, empty, with a server that hands locks on.
    pub fn granting(self) -> Self {
        let server = Memory::granting(Arc::new(self.truth), GRANT_WINDOW);
        Self { server, ..self }
    }

    /// A new client, and the wire to its server.
    pub fn client(&self) -> (Client, Arc<Wire>) {
        let (client, wire, _) = self.client_that_stops();
        (client, wire)
    }

    /// The same, and the machine that its own tasks run on, to stop them.
    pub fn client_that_stops(&self) -> (Client, Arc<Wire>, Arc<Machine>) {
        let wire = Arc::new(Wire {
            inner: self.server.client(),
            truth: self.truth,
            claims: AtomicU64::new(0),
            renewals: AtomicU64::new(0),
            releases: AtomicU64::new(0),
            withdrawals: AtomicU64::new(0),
            transfers: AtomicU64::new(0),
            transfer_takes: AtomicU64::new(0),
            label_takes: AtomicU64::new(0),
            lost_answers: AtomicU64::new(0),
            failure: Mutex::default(),
            lost_renewals: Mutex::default(),
            panics: AtomicBool::new(false),
            claim_takes: AtomicU64::new(0),
            claims_scatter: AtomicU64::new(0),
            renewal_takes: AtomicU64::new(0),
            lease_takes: AtomicU64::new(0),
            narrow: tokio::sync::Mutex::default(),
            deaf: AtomicBool::new(false),
            release_takes: AtomicU64::new(0),
            response_timeout: AtomicU64::new(0),
            looks: AtomicU64::new(0),
            look_takes: AtomicU64::new(0),
            rests: AtomicU64::new(0),
            loses_rests: AtomicBool::new(false),
        });
        let seed = self.seeds.fetch_add(1, Ordering::SeqCst);
        let machine = Machine::new(self.truth, 1.0, seed);
        let options = Options::new().runtime(machine.clone()).ttl(TTL);
        (options.open(wire.clone()).expect("a client"), wire, machine)
    }

    /// Whether nobody holds it or waits for it.
    pub async fn is_free(&self, name: &str) -> bool {
        let (client, _) = self.client();
        client.status(name).await.expect("a status").is_none()
    }

    /// Let everybody do what is to be done now.
    pub async fn settle(&self) {
        self.truth.sleep(Duration::from_millis(5)).await;
    }
}

/// Run a test on a paused clock that jumps to whatever happens next.
pub fn on_virtual_time<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    let built =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    built.expect("a Tokio runtime").block_on(async {
        let truth = TrueClock::start();
        let (server, seeds) = (Memory::new(Arc::new(truth)), AtomicU64::new(0));
        tokio::select! {
            biased;
            () = test(World { truth, server, seeds }) => {}
            () = truth.sleep(STUCK) => panic!("the test still waits after {STUCK:?}"),
        }
    });
}

/// Take a lock that is free.
pub async fn hold(client: &Client, name: &str) -> Lease {
    client.lock(name).acquire().await.expect("the lock")
}

/// A task of the test.
#[allow(clippy::disallowed_methods)] // the test is one Tokio runtime
pub fn spawn<F>(task: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(task)
}
