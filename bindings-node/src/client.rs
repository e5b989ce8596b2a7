//! The core's client, lock and lease, as calls. The classes in `lib` are made of
//! these, and wait for the calls.

use std::future::Future;
use std::sync::Arc;

use leasehold::runtime::ThreadRuntime;
use leasehold::{Error, Options};
use napi::bindgen_prelude::Either5;
use napi_derive::napi;

use crate::calls::Shared;
use crate::values::{Answer, Failure, Settings, millis, with};

/// A client, the thread that its calls run on, and where they are answered.
pub(crate) struct Place {
    core: leasehold::Client,
    runtime: Arc<ThreadRuntime>,
    calls: Arc<Shared>,
}

impl Place {
    pub(crate) fn new(
        calls: Arc<Shared>,
        url: &str,
        settings: Settings,
    ) -> Result<Arc<Self>, Error> {
        let runtime = ThreadRuntime::start()?;
        let options = Options::new().runtime(runtime.clone());
        let core = with!(options, settings, label).client(url)?;
        Ok(Arc::new(Self { core, runtime, calls }))
    }

    fn call(&self, id: i64, work: impl Future<Output = Answer> + Send + 'static) {
        self.calls.start(id, &self.runtime, work);
    }
}

#[napi]
pub struct Client {
    place: Arc<Place>,
}

impl Client {
    pub(crate) fn new(place: Arc<Place>) -> Self {
        Self { place }
    }

    pub(crate) fn connect(self, id: i64) {
        let place = self.place.clone();
        place.call(id, async move {
            self.place.core.connect().await?;
            Ok(Some(Either5::E(self)))
        });
    }
}

#[napi]
impl Client {
    #[napi]
    pub fn lock(&self, name: String, settings: Settings) -> Lock {
        let lock = with!(self.place.core.lock(name), settings, auto_renew, label);
        Lock { lock, place: self.place.clone() }
    }

    #[napi(getter)]
    pub fn backend(&self) -> &str {
        self.place.core.backend()
    }

    #[napi]
    pub fn caveats(&self) -> Vec<String> {
        self.place.core.caveats()
    }

    #[napi]
    pub fn list(&self, id: i64) {
        let core = self.place.core.clone();
        self.place.call(id, async move {
            let all = core.list().await?;
            Ok(Some(Either5::C(all.into_iter().map(Into::into).collect())))
        });
    }

    /// Answers a list of one, or of none.
    #[napi]
    pub fn status(&self, id: i64, name: String) {
        let core = self.place.core.clone();
        self.place.call(id, async move {
            let status = core.status(&name).await?;
            Ok(Some(Either5::C(status.into_iter().map(Into::into).collect())))
        });
    }

    #[napi]
    pub fn break_lock(&self, id: i64, name: String) {
        let core = self.place.core.clone();
        self.place.call(id, async move { Ok(Some(Either5::A(core.break_lock(&name).await?))) });
    }

    #[napi]
    pub fn close(&self, id: i64) {
        let core = self.place.core.clone();
        self.place.call(id, async move {
            core.close().await;
            Ok(None)
        });
    }

    #[napi]
    pub fn close_at_exit(&self, id: i64) {
        let core = self.place.core.clone();
        self.place.call(id, async move {
            core.close_at_exit().await;
            Ok(None)
        });
    }
}

#[napi]
pub struct Lock {
    lock: leasehold::Lock,
    place: Arc<Place>,
}

#[napi]
impl Lock {
    #[napi]
    pub fn acquire(&self, id: i64) {
        let (lock, place) = (self.lock.clone(), self.place.clone());
        self.place.call(id, async move {
            let lease = Arc::new(lock.acquire().await?);
            Ok(Some(Either5::D(Lease { lease, place })))
        });
    }

    /// Answers null when it is busy.
    #[napi]
    pub fn try_acquire(&self, id: i64) {
        let (lock, place) = (self.lock.clone(), self.place.clone());
        self.place.call(id, async move {
            let lease = lock.try_acquire().await?.map(Arc::new);
            Ok(lease.map(|lease| Either5::D(Lease { lease, place })))
        });
    }
}

/// Given back when it is garbage, unless a call of it goes on.
#[napi]
pub struct Lease {
    lease: Arc<leasehold::Lease>,
    /// It is closed when the process ends, if it is there.
    place: Arc<Place>,
}

#[napi]
impl Lease {
    #[napi(getter)]
    pub fn name(&self) -> &str {
        self.lease.name()
    }

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
    pub fn is_valid(&self) -> bool {
        self.lease.is_valid()
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
    pub fn ended(&self, id: i64) {
        let lease = self.lease.clone();
        self.place.call(id, async move {
            let loss = lease.watch().ended().await;
            Ok(loss.map(|loss| Either5::B(loss.code())))
        });
    }

    #[napi]
    pub fn renew(&self, id: i64) {
        let lease = self.lease.clone();
        self.place.call(id, async move { lease.renew().await.map(|()| None) });
    }

    #[napi]
    pub fn release(&self, id: i64) {
        let lease = self.lease.clone();
        self.place.call(id, async move { lease.release().await.map(|()| None) });
    }
}
