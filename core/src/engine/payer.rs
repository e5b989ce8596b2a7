//! Paying what is owed, see [`debts`](super::debts).

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::debts::{Debt, Next, Owed, State, Ticket, Times};
use super::{Engine, Hold};
use crate::backend::Claim;
use crate::error::Error;
use crate::time::{Instant, drift};

/// For so long a release is tried, however late it is.
const AT_LEAST: Duration = Duration::from_secs(1);

impl Engine {
    /// Give a lease back, sooner or later.
    pub(super) fn owe_release(self: &Arc<Self>, hold: Arc<Hold>) {
        let until = hold.gone_at().max(self.runtime.now() + AT_LEAST);
        self.owe(Debt::Release(hold), until);
    }

    /// Make a claim undone that may have reached the backend.
    pub(super) fn withdraw_in_background(self: &Arc<Self>, claim: Claim) {
        let until = self.runtime.now() + claim.ttl + drift(claim.ttl);
        self.owe(Debt::Withdraw(claim), until);
    }

    fn owe(self: &Arc<Self>, debt: Debt, until: Instant) {
        if self.is_foreign() {
            return;
        }
        let late = match &debt {
            Debt::Release(hold) => Some(hold.clone()),
            Debt::Withdraw(_) => None,
        };
        let added = self.debts.add(debt, until, self.runtime.now());
        if added.wants_task {
            self.spawn_payer();
        }
        if let (Some(hold), Some(outage)) = (late, added.outage) {
            self.put_off(&hold, outage);
        }
        self.abandon(added.dropped);
    }

    fn spawn_payer(self: &Arc<Self>) {
        let payer = Payer { engine: self.clone(), is_begun: false, is_done: false };
        self.runtime.spawn(Box::pin(payer.pay_all()));
    }

    /// Not tried any more: it has ended by itself, or will. The backend hears of
    /// it in any case, as some keep alive what nobody has given back.
    fn abandon(self: &Arc<Self>, debts: Vec<Debt>) {
        for debt in debts {
            match &debt {
                Debt::Release(hold) => {
                    let (backend, held) = (self.backend(), hold.as_held());
                    drop(match hold.rest_left(|| self.rest_clock()) {
                        None => poll_once(backend.release(&held, None)),
                        Some(rest) => poll_once(backend.rest(&held, rest)),
                    });
                    let why =
                        Error::unavailable("it could not be confirmed before its ttl was over");
                    self.put_off(hold, why);
                }
                Debt::Withdraw(claim) => drop(poll_once(self.backend().withdraw(claim))),
            }
        }
    }

    async fn pay(self: &Arc<Self>, debt: &Debt) -> Result<(), Error> {
        match debt {
            Debt::Release(hold) => self.release_once(hold).await.map(drop),
            Debt::Withdraw(claim) => {
                let limit = self.request_limit(claim.ttl);
                self.request(limit, self.backend().withdraw(claim)).await
            }
        }
    }
}

/// Let it go out, and do not care what becomes of it.
fn poll_once<T>(request: impl Future<Output = T>) -> Poll<T> {
    std::pin::pin!(request).poll(&mut Context::from_waker(Waker::noop()))
}

/// A task that pays debts; counted until it is over, however it ends.
struct Payer {
    engine: Arc<Engine>,
    is_begun: bool,
    is_done: bool,
}

impl Payer {
    async fn pay_all(mut self) {
        self.is_begun = true;
        let engine = self.engine.clone();
        loop {
            let now = engine.runtime.now();
            let (next, ended) = {
                let mut state = engine.debts.state();
                let ended = state.drop_ended(now);
                let next = state.next(now);
                match next {
                    Next::End => self.end(&mut state),
                    Next::Rest(_) => state.rest(true),
                    Next::Pay(..) => {}
                }
                (next, ended)
            };
            engine.abandon(ended);
            match next {
                Next::Pay(ticket, owed) => self.pay(ticket, owed).await,
                Next::Rest(until) => {
                    let until = until.since(now);
                    tokio::select! {
                        biased;
                        () = engine.debts.bell.notified() => {}
                        () = async { engine.runtime.sleep(until).await } => {}
                    }
                    engine.debts.state().rest(false);
                }
                Next::End => return,
            }
        }
    }

    async fn pay(&self, ticket: Ticket, owed: Owed) {
        let engine = &self.engine;
        let paid = engine.pay(&owed.debt).await;
        let jitter = engine.jitter(Duration::from_secs(1)).as_secs_f64();
        let times = Times { now: engine.runtime.now(), jitter };
        let mut state = engine.debts.state();
        let wants_task = match paid {
            // After an outage each that is paid brings one more to work.
            Ok(()) => state.paid(),
            // Nor will the next try pay it.
            Err(error) if error.is_final() => state.paid(),
            Err(error) => {
                state.failed(ticket, owed, &error, times);
                if state.is_resting() {
                    // Whoever rests does so for another, and has this one to retry, too.
                    engine.debts.bell.notify_one();
                }
                false
            }
        };
        drop(state);
        if wants_task {
            engine.spawn_payer();
        }
    }

    fn end(&mut self, state: &mut State) {
        self.is_done = true;
        self.engine.debts.end_task(state);
    }
}

impl Drop for Payer {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        let engine = self.engine.clone();
        let mut left = Vec::new();
        let wants_task = {
            let mut state = engine.debts.state();
            state.rest(false);
            // Another goes on after a panic of the backend. One that was never
            // polled, or dropped otherwise, has no runtime any more.
            if !(self.is_begun && std::thread::panicking()) {
                left = state.clear();
            }
            self.end(&mut state);
            state.begin_task()
        };
        for debt in left {
            if let Debt::Release(hold) = debt {
                engine.put_off(&hold, Error::unavailable("the client's thread has ended"));
            }
        }
        if wants_task {
            engine.spawn_payer();
        }
    }
}
