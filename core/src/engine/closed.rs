//! What stands in the place of the backend when a client is closed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::backend::{Answer, Backend, Claim, Held, Mode, Released, Renewal, Status, Wake};
use crate::error::{Error, Kind};
use crate::name::LockName;

/// Nothing is held there and nothing is to be had.
pub(super) struct Closed {
    description: Arc<str>,
}

impl Closed {
    pub(super) fn was(description: Arc<str>) -> Arc<dyn Backend> {
        Arc::new(Self { description })
    }
}

pub(super) fn closed() -> Error {
    Error::new(Kind::Closed, "this client was closed; connect again")
}

#[async_trait]
impl Backend for Closed {
    async fn claim(&self, _: &Claim) -> Result<Answer, Error> {
        Err(closed())
    }

    async fn renew(&self, _: &[Held]) -> Result<Vec<Renewal>, Error> {
        Err(closed())
    }

    async fn release(&self, _: &Held, _: Option<&Claim>) -> Result<Released, Error> {
        Ok(Released { held: false, next: None, others: 0 })
    }

    async fn rest(&self, _: &Held, _: Duration) -> Result<Released, Error> {
        Ok(Released { held: false, next: None, others: 0 })
    }

    async fn withdraw(&self, _: &Claim) -> Result<(), Error> {
        Ok(())
    }

    async fn evict(&self, _: &LockName) -> Result<bool, Error> {
        Err(closed())
    }

    async fn relabel(&self, _: &Held, _: &Arc<str>) -> Result<bool, Error> {
        Err(closed())
    }

    async fn inspect(&self, _: Option<&LockName>) -> Result<Vec<Status>, Error> {
        Err(closed())
    }

    async fn wake(&self) -> Wake {
        std::future::pending().await
    }

    fn tickets(&self, _: Duration) -> Result<&'static str, Error> {
        Err(closed())
    }

    fn supports(&self, _: Mode) -> Result<(), Error> {
        Err(closed())
    }

    fn supports_rest(&self) -> Result<(), Error> {
        Err(closed())
    }

    fn describe(&self) -> &str {
        &self.description
    }
}
