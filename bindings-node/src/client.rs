//! The core's client, lock and lease, as calls. The classes in `lib` are made of
//! these, and wait for the calls.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;

use leasehold::Run;
use napi::bindgen_prelude::Either9 as Either;
use napi_derive::napi;

use crate::calls::{Shared, Watched};
use crate::values::{
    Answer, Failure, Fence, OnceSettings, Settings, Settled, Skipped, millis, span, with,
};

impl Shared {
    fn call(&self, id: i64, work: impl Future<Output = Answer> + 'static) -> Option<Settled> {
        self.start(id, true, work)
    }
}

#[napi]
pub struct Client {
    core: leasehold::Client,
    calls: Rc<Shared>,
    /// Until it is closed.
    watched: Cell<Option<Rc<Watched>>>,
}

impl Client {
    pub(crate) fn new(
        core: leasehold::Client,
        calls: Rc<Shared>,
        watched: Option<Rc<Watched>>,
    ) -> Self {
        Self { core, calls, watched: Cell::new(watched) }
    }
}

#[napi]
impl Client {
    /// One, or several that are taken together.
    #[napi]
    pub fn lock(&self, names: Vec<String>, settings: Settings) -> Lock {
        let (shared, permits) = (settings.shared, settings.permits);
        let min_hold = settings.min_hold;
        let mut locks = with!(self.core.locks(names), settings, auto_renew, label);
        if shared == Some(true) {
            locks = locks.shared();
        }
        if let Some(permits) = permits {
            locks = locks.permits(u32::try_from(permits).unwrap_or(u32::MAX));
        }
        if let Some(least) = min_hold {
            locks = locks.min_hold(span(least));
        }
        Lock { locks, calls: self.calls.clone() }
    }

    /// Work that is done once per interval.
    #[napi]
    pub fn once(&self, name: String, settings: OnceSettings) -> Once {
        let mut once = self.core.once(name);
        if let Some(every) = settings.every {
            once = once.every(span(every));
        }
        if let Some(ttl) = settings.ttl {
            once = once.ttl(span(ttl));
        }
        if let Some(delay) = settings.delay {
            once = once.delay(span(delay));
        }
        if let Some(most) = settings.max_hold {
            once = once.max_hold(span(most));
        }
        if let Some(slot) = settings.slot {
            once = once.slot(slot);
        }
        if let Some(label) = settings.label {
            once = once.label(label);
        }
        Once { once, calls: self.calls.clone() }
    }

    #[napi]
    pub fn election(&self, name: String, settings: Settings) -> Election {
        let election = with!(self.core.election(name), settings, value);
        Election { election, calls: self.calls.clone() }
    }

    #[napi(getter)]
    pub fn backend(&self) -> &str {
        self.core.backend()
    }

    #[napi]
    pub fn caveats(&self) -> Vec<String> {
        self.core.caveats()
    }

    #[napi]
    pub fn events(&self) -> Events {
        Events { events: Rc::new(self.core.events()), calls: self.calls.clone() }
    }

    /// Of all locks, or of one: then it answers a list of one, or of none.
    #[napi]
    pub fn status(&self, id: i64, name: Option<String>) -> Option<Settled> {
        let core = self.core.clone();
        self.calls.call(id, async move {
            let all = match name {
                Some(name) => core.status(&name).await?.into_iter().collect(),
                None => core.list().await?,
            };
            Ok(Some(Either::C(all.into_iter().map(Into::into).collect())))
        })
    }

    #[napi]
    pub fn deadlocks(&self, id: i64) -> Option<Settled> {
        let core = self.core.clone();
        self.calls.call(id, async move {
            let all = core.deadlocks().await?;
            Ok(Some(Either::I(all.into_iter().map(Into::into).collect())))
        })
    }

    #[napi]
    pub fn break_lock(&self, id: i64, name: String) -> Option<Settled> {
        let core = self.core.clone();
        self.calls.call(id, async move { Ok(Some(Either::A(core.break_lock(&name).await?))) })
    }

    #[napi]
    pub fn adopt(&self, id: i64, ticket: String, name: Option<String>) -> Option<Settled> {
        let (core, calls) = (self.core.clone(), self.calls.clone());
        self.calls.call(id, async move {
            let lease = match name {
                Some(name) => core.lock(name).adopt(&ticket).await?,
                None => core.adopt(&ticket).await?,
            };
            Ok(Some(Either::D(Lease { leases: Rc::new(lease.into()), calls })))
        })
    }

    #[napi]
    pub fn close(&self, id: i64, at_exit: bool) -> Option<Settled> {
        let (core, watched) = (self.core.clone(), self.watched.take());
        self.calls.call(id, async move {
            if at_exit {
                core.close_at_exit().await
            } else {
                core.close().await
            }
            drop(watched);
            Ok(None)
        })
    }
}

#[napi]
pub struct Lock {
    locks: leasehold::Locks,
    calls: Rc<Shared>,
}

#[napi]
impl Lock {
    /// What is wrong with its name or options.
    #[napi]
    pub fn check(&self) -> Option<Failure> {
        self.locks.check().err().map(Into::into)
    }

    /// In the order in which they are taken.
    #[napi(getter)]
    pub fn names(&self) -> Vec<String> {
        self.locks.names().to_vec()
    }

    /// Answers null when it is busy and that is not waited for.
    #[napi]
    pub fn acquire(&self, id: i64, waits: bool) -> Option<Settled> {
        let (locks, calls) = (self.locks.clone(), self.calls.clone());
        self.calls.call(id, async move {
            let leases =
                if waits { Some(locks.acquire().await?) } else { locks.try_acquire().await? };
            Ok(leases.map(|leases| Either::D(Lease { leases: Rc::new(leases), calls })))
        })
    }
}

#[napi]
pub struct Once {
    once: leasehold::Once,
    calls: Rc<Shared>,
}

#[napi]
impl Once {
    /// What is wrong with its name or options.
    #[napi]
    pub fn check(&self) -> Option<Failure> {
        self.once.check().err().map(Into::into)
    }

    /// Answers a lease, or why it is skipped.
    #[napi]
    pub fn begin(&self, id: i64) -> Option<Settled> {
        let (once, calls) = (self.once.clone(), self.calls.clone());
        self.calls.call(id, async move {
            Ok(Some(match once.begin().await? {
                Run::Ran(leases) => Either::D(Lease { leases: Rc::new(leases), calls }),
                Run::Skipped { why, next_in } => {
                    Either::G(Skipped { why: why.code(), next_in: millis(next_in) })
                }
            }))
        })
    }
}

/// Given back when it is garbage, unless a call of it goes on.
#[napi]
pub struct Lease {
    leases: Rc<leasehold::Leases>,
    calls: Rc<Shared>,
}

#[napi]
impl Lease {
    #[napi(getter)]
    pub fn fence(&self) -> u64 {
        self.leases.first().fence()
    }

    /// What each of several has of its own.
    #[napi(getter)]
    pub fn fences(&self) -> Vec<Fence> {
        let (mut keys, slots) = (self.leases.keys(), self.leases.slots());
        let fence = |(name, fence)| {
            let (key, slot) = (keys.remove(&name), slots.get(&name).copied());
            Fence { name, fence, key, slot }
        };
        self.leases.fences().into_iter().map(fence).collect()
    }

    #[napi(getter)]
    pub fn lost_name(&self) -> Option<&str> {
        self.leases.lost_name()
    }

    #[napi(getter)]
    pub fn key(&self) -> Option<String> {
        self.leases.first().key()
    }

    #[napi(getter)]
    pub fn slot(&self) -> Option<u32> {
        self.leases.first().slot()
    }

    #[napi(getter)]
    pub fn ttl(&self) -> f64 {
        millis(self.leases.ttl())
    }

    #[napi(getter)]
    pub fn remaining(&self) -> f64 {
        millis(self.leases.remaining())
    }

    #[napi(getter)]
    pub fn loss(&self) -> Option<&'static str> {
        self.leases.loss().map(|loss| loss.code())
    }

    #[napi]
    pub fn check(&self) -> Option<Failure> {
        self.leases.check().err().map(Into::into)
    }

    #[napi]
    pub fn guard(&self) -> napi::Either<String, Failure> {
        match self.leases.guard() {
            Ok(statement) => napi::Either::A(statement),
            Err(error) => napi::Either::B(error.into()),
        }
    }

    /// Answers why it was lost, or null when it was released. Whoever waits for
    /// that relies on the lease, so this keeps it.
    #[napi]
    pub fn ended(&self, id: i64) -> Option<Settled> {
        let leases = self.leases.clone();
        self.calls.start(id, false, async move {
            let loss = leases.watch().ended().await;
            Ok(loss.map(|loss| Either::B(loss.code().to_owned())))
        })
    }

    #[napi]
    pub fn renew(&self, id: i64, ttl: Option<f64>) -> Option<Settled> {
        let leases = self.leases.clone();
        self.calls.call(id, async move {
            match ttl {
                Some(ttl) => leases.renew_for(span(ttl)).await?,
                None => leases.renew().await?,
            }
            Ok(None)
        })
    }

    #[napi]
    #[allow(clippy::wrong_self_convention)] // as users call it
    pub fn into_ticket(&self, id: i64, valid: Option<f64>) -> Option<Settled> {
        let leases = self.leases.clone();
        self.calls.call(id, async move {
            let ticket = match valid {
                Some(valid) => leases.into_ticket_for(span(valid)).await?,
                None => leases.into_ticket().await?,
            };
            Ok(Some(Either::B(ticket.into())))
        })
    }

    #[napi]
    pub fn proclaim(&self, id: i64, value: String) -> Option<Settled> {
        let leases = self.leases.clone();
        self.calls.call(id, async move { leases.proclaim(&value).await.map(|()| None) })
    }

    #[napi]
    pub fn release(&self, id: i64) -> Option<Settled> {
        let leases = self.leases.clone();
        self.calls.call(id, async move { leases.release().await.map(|()| None) })
    }

    /// The work that is done once has succeeded.
    #[napi]
    pub fn succeed(&self) {
        self.leases.succeed();
    }

    #[napi]
    pub fn finish(&self, id: i64) -> Option<Settled> {
        let leases = self.leases.clone();
        self.calls.call(id, async move { leases.finish().await.map(|()| None) })
    }
}

#[napi]
pub struct Events {
    events: Rc<leasehold::Events>,
    calls: Rc<Shared>,
}

#[napi]
impl Events {
    /// Answers null when the client is closed. The process ends without it.
    #[napi]
    pub fn next(&self, id: i64) -> Option<Settled> {
        let events = self.events.clone();
        self.calls.start(id, false, async move {
            Ok(events.next().await.map(|event| Either::F((&event).into())))
        })
    }
}

#[napi]
pub struct Election {
    election: leasehold::Election,
    calls: Rc<Shared>,
}

#[napi]
impl Election {
    /// What is wrong with its name or options.
    #[napi]
    pub fn check(&self) -> Option<Failure> {
        self.election.check().err().map(Into::into)
    }

    /// What is taken to campaign.
    #[napi]
    pub fn lock(&self) -> Lock {
        Lock { locks: self.election.locks(), calls: self.calls.clone() }
    }

    /// Answers null when nobody leads.
    #[napi]
    pub fn leader(&self, id: i64) -> Option<Settled> {
        let election = self.election.clone();
        self.calls
            .call(id, async move { Ok(election.leader().await?.map(|it| Either::H(it.into()))) })
    }

    #[napi]
    pub fn observe(&self) -> Leaders {
        Leaders { leaders: Rc::new(self.election.observe()), calls: self.calls.clone() }
    }
}

#[napi]
pub struct Leaders {
    leaders: Rc<leasehold::Leaders>,
    calls: Rc<Shared>,
}

#[napi]
impl Leaders {
    /// Answers null when nobody leads.
    #[napi]
    pub fn next(&self, id: i64) -> Option<Settled> {
        let leaders = self.leaders.clone();
        self.calls.call(id, async move {
            Ok(leaders.next().await?.map(|leader| Either::H(leader.into())))
        })
    }
}
