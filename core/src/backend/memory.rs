//! The reference backend: a server in this process, on any clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::record::{Address, Now, Record, Rest, Retired};
use super::{
    Answer, Backend, Claim, Grant, Heir, Held, Mode, Released, Renewal, Status, Transferred, Wake,
};
use crate::error::Error;
use crate::name::LockName;
use crate::time::Clock;

/// A lock server inside this process. Clones are the same server.
///
/// Its leases live as long as the value; there is nothing to configure.
#[derive(Clone)]
pub struct Memory {
    clock: Arc<dyn Clock>,
    /// How long a lock handed on lasts; `None`: waiters are only woken.
    grants: Option<Duration>,
    state: Arc<Mutex<State>>,
}

/// The address of no client.
const NOBODY: Address = 0;

#[derive(Default)]
struct State {
    records: BTreeMap<LockName, Record>,
    /// The largest fence of all records that were dropped.
    forgotten: u64,
    retired: Retired,
    bells: BTreeMap<Address, mpsc::UnboundedSender<Wake>>,
    next_address: Address,
    claims: u64,
}

impl Memory {
    /// A server without locks that goes by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, grants: None, state: Arc::default() }
    }

    /// One that hands a free lock to the first of the line, as a Redis server
    /// does, for `window` until the waiter's client renews it.
    pub fn granting(clock: Arc<dyn Clock>, window: Duration) -> Self {
        Self { grants: Some(window), ..Self::new(clock) }
    }

    /// A connection to it, the backend of one client.
    pub fn client(&self) -> MemoryClient {
        let (bell, wakes) = mpsc::unbounded_channel();
        let mut state = self.state();
        state.next_address += 1;
        let address = state.next_address;
        state.bells.insert(address, bell);
        drop(state);
        MemoryClient { server: self.clone(), address, wakes: tokio::sync::Mutex::new(wakes) }
    }

    /// What a server's restart does: leases stay, the line and every wake on
    /// its way are forgotten. The clients hear [`Wake::All`] when they are
    /// connected again, so call it at that moment.
    pub fn restart(&self) {
        let mut state = self.state();
        state.records.values_mut().for_each(|record| record.line.clear());
        for bell in state.bells.values() {
            drop(bell.send(Wake::All));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every transition is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Now {
        Now { instant: self.clock.now(), wall_micros: self.clock.wall_micros() }
    }

    /// Tell the first of the line that can hear it that there is room, or make
    /// holders of all for whom there is.
    fn pass_on(&self, state: &mut State, name: &LockName, now: Now) {
        let Some(window) = self.grants else { return state.wake_next(name) };
        while let Some((first, granted)) = state.record(name).hand_on(window, now) {
            let Answer::Granted { fence, slot, .. } = granted else { return };
            let (owner, lasts) = (first.owner, first.ttl);
            let grant = Grant { name: name.clone(), owner, fence, slot, lasts };
            if !state.tell(first.client, Wake::Granted(grant)) {
                state.record(name).bury(first.client);
            }
        }
    }
}

impl State {
    const CLAIMS_PER_SWEEP: u64 = 4096;

    fn record(&mut self, name: &LockName) -> &mut Record {
        let new = || Record::after(self.forgotten);
        self.records.entry(name.clone()).or_insert_with(new)
    }

    fn forget_old(&mut self, now: Now) {
        let forgotten = &mut self.forgotten;
        self.records.retain(|_, record| {
            record.expire(now.instant);
            let is_old = record.is_forgettable(now.wall_micros);
            if is_old {
                *forgotten = record.fence.max(*forgotten);
            }
            !is_old
        });
    }

    fn claim(&mut self, claim: &Claim, from: Address, now: Now) -> Answer {
        match self.retired.contains(claim.owner) {
            true => Answer::Retired,
            false => self.record(&claim.name).claim(claim, from, now),
        }
    }

    fn tell(&self, client: Address, wake: Wake) -> bool {
        self.bells.get(&client).is_some_and(|bell| bell.send(wake).is_ok())
    }

    /// Wake the first of the line that can hear it.
    fn wake_next(&mut self, name: &LockName) {
        while let Some(client) = self.record(name).next_in_line().map(|first| first.client) {
            if self.tell(client, Wake::Name(name.clone())) {
                return;
            }
            self.record(name).bury(client);
        }
    }
}

/// A client's connection to a [`Memory`] server.
pub struct MemoryClient {
    server: Memory,
    address: Address,
    wakes: tokio::sync::Mutex<mpsc::UnboundedReceiver<Wake>>,
}

impl Drop for MemoryClient {
    fn drop(&mut self) {
        self.server.state().bells.remove(&self.address);
    }
}

#[async_trait]
impl Backend for MemoryClient {
    async fn claim(&self, claim: &Claim) -> Result<Answer, Error> {
        let now = self.server.now();
        let mut state = self.server.state();
        state.claims += 1;
        if state.claims.is_multiple_of(State::CLAIMS_PER_SWEEP) {
            state.forget_old(now);
        }
        let answer = state.claim(claim, self.address, now);
        if claim.mode.is_shared() && matches!(answer, Answer::Granted { .. }) {
            // There may be room for the next, too.
            self.server.pass_on(&mut state, &claim.name, now);
        }
        Ok(answer)
    }

    async fn renew(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        let now = self.server.now().instant;
        let mut state = self.server.state();
        let renew = |held: &Held| match state.record(&held.name).renew(held.owner, held.ttl, now) {
            true => Renewal::Kept,
            false => Renewal::Gone,
        };
        Ok(leases.iter().map(renew).collect())
    }

    async fn release(&self, held: &Held, then: Option<&Claim>) -> Result<Released, Error> {
        let now = self.server.now();
        let mut state = self.server.state();
        state.retired.insert(held.owner);
        let was_held = state.record(&held.name).release(held.owner, now.instant);
        let next = then.map(|then| match was_held && !state.retired.contains(then.owner) {
            true => state.record(&held.name).hand_over(then, self.address, now),
            false => state.claim(then, self.address, now),
        });
        self.server.pass_on(&mut state, &held.name, now);
        let others = state.record(&held.name).waiters_besides(then.map(|then| then.owner));
        Ok(Released { held: was_held, next, others })
    }

    async fn rest(&self, held: &Held, rest: Duration) -> Result<Released, Error> {
        let now = self.server.now().instant;
        let mut state = self.server.state();
        state.retired.insert(held.owner);
        let record = state.record(&held.name);
        let was_held = record.rest(held.owner, Rest { lasts: rest, client: NOBODY }, now);
        let others = record.waiters_besides(None);
        Ok(Released { held: was_held, next: None, others })
    }

    async fn withdraw(&self, claim: &Claim) -> Result<(), Error> {
        let now = self.server.now();
        let mut state = self.server.state();
        state.retired.insert(claim.owner);
        state.record(&claim.name).withdraw(claim.owner, now.instant);
        self.server.pass_on(&mut state, &claim.name, now);
        Ok(())
    }

    async fn transfer(&self, held: &Held, to: &Claim, heir: Heir) -> Result<Transferred, Error> {
        let now = self.server.now().instant;
        let client = match heir {
            Heir::Ticket => NOBODY,
            Heir::Client => self.address,
        };
        let mut state = self.server.state();
        if state.retired.contains(to.owner)
            || !state.record(&held.name).transfer(held.owner, to, client, now)
        {
            return Ok(Transferred::Gone);
        }
        state.retired.insert(held.owner);
        Ok(Transferred::Done { term: None })
    }

    fn tickets(&self, _: Duration) -> Result<&'static str, Error> {
        Ok("memory")
    }

    async fn evict(&self, name: &LockName) -> Result<bool, Error> {
        let now = self.server.now();
        let mut state = self.server.state();
        state.record(name).expire(now.instant);
        let evicted = std::mem::take(&mut state.record(name).tenants);
        for tenant in &evicted {
            state.tell(tenant.client, Wake::Name(name.clone()));
        }
        self.server.pass_on(&mut state, name, now);
        Ok(!evicted.is_empty())
    }

    async fn relabel(&self, held: &Held, label: &Arc<str>) -> Result<bool, Error> {
        let now = self.server.now().instant;
        Ok(self.server.state().record(&held.name).relabel(held.owner, label, now))
    }

    async fn inspect(&self, name: Option<&LockName>) -> Result<Vec<Status>, Error> {
        let now = self.server.now().instant;
        let mut state = self.server.state();
        state.records.values_mut().for_each(|record| record.expire(now));
        let asked = state.records.iter().filter(|(n, _)| name.is_none_or(|name| *n == name));
        let busy = asked.filter(|(_, record)| !record.is_idle());
        Ok(busy.map(|(name, record)| record.status(name, now)).collect())
    }

    async fn wake(&self) -> Wake {
        match self.wakes.lock().await.recv().await {
            Some(wake) => wake,
            None => std::future::pending().await,
        }
    }

    fn supports(&self, _: Mode) -> Result<(), Error> {
        Ok(())
    }

    fn supports_rest(&self) -> Result<(), Error> {
        Ok(())
    }

    fn describe(&self) -> &str {
        "memory:"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;

    /// A clock that stands where it is put.
    struct Stopped(std::sync::atomic::AtomicU64);

    impl Clock for Stopped {
        fn now(&self) -> Instant {
            Instant::from_nanos(self.0.load(std::sync::atomic::Ordering::SeqCst))
        }

        fn wall_micros(&self) -> u64 {
            1_700_000_000_000_000 + self.now().as_nanos() / 1000
        }
    }

    #[tokio::test]
    async fn records_of_yesterday_are_forgotten() {
        let clock = Arc::new(Stopped(1.into()));
        let client = Memory::new(clock.clone()).client();
        let claim = |number: u64| Claim {
            name: LockName::new(&number.to_string()).unwrap(),
            owner: crate::name::Owner::from_bits(number.into()),
            ttl: std::time::Duration::from_secs(10),
            delay: std::time::Duration::ZERO,
            mode: super::super::Mode::Exclusive,
            label: "".into(),
            place: None,
            renewed: true,
        };
        let claims = State::CLAIMS_PER_SWEEP;
        for number in 1..claims {
            client.claim(&claim(number)).await.unwrap();
        }
        clock.0.fetch_add(86_400_000_000_000, std::sync::atomic::Ordering::SeqCst);
        client.claim(&claim(claims)).await.unwrap();
        assert_eq!(client.server.state().records.len(), 1);
    }
}
