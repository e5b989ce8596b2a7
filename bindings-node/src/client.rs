//! The core's client, lock and lease, as calls. The classes in `lib` are made of
//! these, and wait for the calls.

use std::future::Future;
use std::rc::Rc;

use napi::bindgen_prelude::Either6 as Either;
use napi_derive::napi;

use crate::calls::Shared;
use crate::values::{Answer, Failure, Settings, Settled, millis, with};

impl Shared {
    fn call(&self, id: i64, work: impl Future<Output = Answer> + 'static) -> Option<Settled> {
        self.start(id, true, work)
    }
}

#[napi]
pub struct Client {
    pub(crate) core: leasehold::Client,
    pub(crate) calls: Rc<Shared>,
}

#[napi]
impl Client {
    #[napi]
    pub fn lock(&self, name: String, settings: Settings) -> Lock {
        let lock = with!(self.core.lock(name), settings, auto_renew, label);
        Lock { lock, calls: self.calls.clone() }
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
    pub fn break_lock(&self, id: i64, name: String) -> Option<Settled> {
        let core = self.core.clone();
        self.calls.call(id, async move { Ok(Some(Either::A(core.break_lock(&name).await?))) })
    }

    #[napi]
    pub fn close(&self, id: i64, at_exit: bool) -> Option<Settled> {
        let core = self.core.clone();
        self.calls.call(id, async move {
            if at_exit {
                core.close_at_exit().await
            } else {
                core.close().await
            }
            Ok(None)
        })
    }
}

#[napi]
pub struct Lock {
    lock: leasehold::Lock,
    calls: Rc<Shared>,
}

#[napi]
impl Lock {
    /// Answers null when it is busy and that is not waited for.
    #[napi]
    pub fn acquire(&self, id: i64, waits: bool) -> Option<Settled> {
        let (lock, calls) = (self.lock.clone(), self.calls.clone());
        self.calls.call(id, async move {
            let lease =
                if waits { Some(lock.acquire().await?) } else { lock.try_acquire().await? };
            Ok(lease.map(|lease| Either::D(Lease { lease: Rc::new(lease), calls })))
        })
    }
}

/// Given back when it is garbage, unless a call of it goes on.
#[napi]
pub struct Lease {
    lease: Rc<leasehold::Lease>,
    calls: Rc<Shared>,
}

#[napi]
impl Lease {
    #[napi(getter)]
    pub fn fence(&self) -> u64 {
        self.lease.fence()
    }

    #[napi(getter)]
    pub fn key(&self) -> Option<String> {
        self.lease.key()
    }

    #[napi(getter)]
    pub fn ttl(&self) -> f64 {
        millis(self.lease.ttl())
    }

    #[napi(getter)]
    pub fn remaining(&self) -> f64 {
        millis(self.lease.remaining())
    }

    #[napi(getter)]
    pub fn loss(&self) -> Option<&'static str> {
        self.lease.loss().map(|loss| loss.code())
    }

    #[napi]
    pub fn check(&self) -> Option<Failure> {
        self.lease.check().err().map(Into::into)
    }

    /// Answers why it was lost, or null when it was released. Whoever waits for
    /// that relies on the lease, so this keeps it.
    #[napi]
    pub fn ended(&self, id: i64) -> Option<Settled> {
        let lease = self.lease.clone();
        self.calls.start(id, false, async move {
            let loss = lease.watch().ended().await;
            Ok(loss.map(|loss| Either::B(loss.code())))
        })
    }

    #[napi]
    pub fn renew(&self, id: i64) -> Option<Settled> {
        let lease = self.lease.clone();
        self.calls.call(id, async move { lease.renew().await.map(|()| None) })
    }

    #[napi]
    pub fn release(&self, id: i64) -> Option<Settled> {
        let lease = self.lease.clone();
        self.calls.call(id, async move { lease.release().await.map(|()| None) })
    }

    #[napi]
    pub fn finish(&self, id: i64) -> Option<Settled> {
        let lease = self.lease.clone();
        self.calls.call(id, async move { lease.finish().await.map(|()| None) })
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
