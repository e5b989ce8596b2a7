//! A lease, or several that are held together.

use std::collections::HashMap;
use std::sync::Arc;

use leasehold::runtime::ThreadRuntime;

use crate::calls::{Answer, Cancel, Reply, start};
use crate::values::{Failure, nanos, span};

/// What came of asking for a guard.
#[derive(uniffi::Enum)]
pub enum Guarded {
    By { statement: String },
    Failed { failure: Failure },
}

/// Given back when Swift has no reference to it, unless a call of it goes on.
#[derive(uniffi::Object)]
pub struct Lease {
    leases: leasehold::Leases,
    runtime: Arc<ThreadRuntime>,
}

impl Lease {
    pub(crate) fn new(leases: leasehold::Leases, runtime: Arc<ThreadRuntime>) -> Arc<Self> {
        Arc::new(Self { leases, runtime })
    }
}

#[uniffi::export]
impl Lease {
    pub fn name(&self) -> String {
        self.leases.first().name().to_owned()
    }

    pub fn names(&self) -> Vec<String> {
        self.leases.names().map(str::to_owned).collect()
    }

    pub fn fences(&self) -> HashMap<String, u64> {
        self.leases.fences().into_iter().collect()
    }

    pub fn keys(&self) -> HashMap<String, String> {
        self.leases.keys().into_iter().collect()
    }

    pub fn slots(&self) -> HashMap<String, u32> {
        self.leases.slots().into_iter().collect()
    }

    pub fn lost_name(&self) -> Option<String> {
        self.leases.lost_name().map(str::to_owned)
    }

    pub fn fence(&self) -> u64 {
        self.leases.first().fence()
    }

    pub fn key(&self) -> Option<String> {
        self.leases.first().key()
    }

    pub fn slot(&self) -> Option<u32> {
        self.leases.first().slot()
    }

    pub fn ttl(&self) -> i64 {
        nanos(self.leases.ttl())
    }

    pub fn remaining(&self) -> i64 {
        nanos(self.leases.remaining())
    }

    pub fn is_valid(&self) -> bool {
        self.leases.is_valid()
    }

    pub fn loss(&self) -> Option<String> {
        self.leases.loss().map(|loss| loss.code().to_owned())
    }

    pub fn check(&self) -> Option<Failure> {
        self.leases.check().err().map(Failure::from)
    }

    /// The statement of a guard.
    pub fn guard_statement(&self) -> Guarded {
        match self.leases.guard() {
            Ok(statement) => Guarded::By { statement },
            Err(error) => Guarded::Failed { failure: error.into() },
        }
    }

    /// Answers why it was lost, or nothing when it was released. Waiting keeps nothing.
    pub fn ended(&self, cancel: Arc<Cancel>, reply: Box<dyn Reply>) {
        let watch = self.leases.watch();
        cancel.start(&self.runtime, reply, async move {
            let loss = watch.ended().await;
            Ok(Answer::Loss { code: loss.map(|loss| loss.code().to_owned()) })
        });
    }

    pub fn renew(self: Arc<Self>, ttl: Option<i64>, cancel: Arc<Cancel>, reply: Box<dyn Reply>) {
        cancel.start(&self.runtime.clone(), reply, async move {
            match ttl {
                Some(ttl) => self.leases.renew_for(span("ttl", ttl)?).await?,
                None => self.leases.renew().await?,
            }
            Ok(Answer::Nothing)
        });
    }

    pub fn into_ticket(
        self: Arc<Self>,
        valid: Option<i64>,
        cancel: Arc<Cancel>,
        reply: Box<dyn Reply>,
    ) {
        cancel.start(&self.runtime.clone(), reply, async move {
            let ticket = match valid {
                Some(valid) => self.leases.into_ticket_for(span("valid", valid)?).await?,
                None => self.leases.into_ticket().await?,
            };
            Ok(Answer::Ticket { text: ticket.into() })
        });
    }

    pub fn proclaim(self: Arc<Self>, value: String, cancel: Arc<Cancel>, reply: Box<dyn Reply>) {
        cancel.start(&self.runtime.clone(), reply, async move {
            self.leases.proclaim(&value).await.map(|()| Answer::Nothing)
        });
    }

    pub fn release(self: Arc<Self>, reply: Box<dyn Reply>) {
        start(&self.runtime.clone(), reply, async move {
            self.leases.release().await.map(|()| Answer::Nothing)
        });
    }

    /// A task is inside of the body that it is held for; with zero none is.
    pub fn keep_for(&self, task: u64) {
        self.leases.keep_for(task);
    }

    /// The work that is done once has succeeded.
    pub fn succeed(&self) {
        self.leases.succeed();
    }

    pub fn finish(self: Arc<Self>, reply: Box<dyn Reply>) {
        start(&self.runtime.clone(), reply, async move {
            self.leases.finish().await.map(|()| Answer::Nothing)
        });
    }
}
