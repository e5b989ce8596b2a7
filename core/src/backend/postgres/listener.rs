//! The second session: it hears, and renews, so that neither waits behind a statement that
//! waits for somebody else's lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_postgres::types::Type;

use super::dial::{Dial, Heard};
use super::session::Session;
use super::store::{Store, channel};
use crate::backend::Wake;
use crate::backend::connection::{self, Driver};
use crate::backend::net::Patience;
use crate::backend::record::Address;
use crate::error::Error;
use crate::name::LockName;

/// How long a notification to ourselves is waited for,
const ECHO: Duration = Duration::from_secs(2);
/// and by a pooler, which delivers it at once or never: whoever connects waits, too.
const POOLED_ECHO: Duration = Duration::from_millis(500);

/// How the second session is opened.
pub(super) struct Listener {
    pub(super) dial: Dial,
    pub(super) store: Arc<Store>,
    /// Where this client is to hear; 0: nowhere.
    pub(super) address: Address,
    /// The same, while it does.
    pub(super) ear: Arc<AtomicU64>,
    pub(super) wakes: mpsc::UnboundedSender<Wake>,
}

#[async_trait]
impl connection::Dial for Listener {
    type Session = Arc<Session>;

    async fn open(&mut self, number: u64) -> Result<(Arc<Session>, Driver), Error> {
        self.ear.store(0, Ordering::Relaxed);
        let (session, mut driver, mut heard) = self.dial.enter(number).await?;
        if self.address == 0 {
            return Ok((session, driver));
        }
        let listens = tokio::select! {
            biased;
            listens = self.listen(&session, &mut heard) => listens?,
            why = &mut driver => return Err(Error::unavailable(why)),
        };
        if !listens {
            // It is asked again every now and then, as always.
            return Ok((session, driver));
        }
        self.ear.store(self.address, Ordering::Relaxed);
        let wakes = self.wakes.clone();
        let driver = async move {
            let pass_on = async {
                while let Some(said) = heard.recv().await {
                    if let Ok(name) = LockName::new(&said) {
                        drop(wakes.send(Wake::Name(name)));
                    }
                }
                std::future::pending::<String>().await
            };
            tokio::select! {
                why = driver => why,
                why = pass_on => why,
            }
        };
        Ok((session, Box::pin(driver)))
    }

    fn reconnected(&self) {
        drop(self.wakes.send(Wake::All));
    }
}

impl Listener {
    /// Whether what the other session tells is heard on this one. A pooler may take the LISTEN
    /// without a word, and deliver nothing.
    async fn listen(&self, session: &Session, heard: &mut Heard) -> Result<bool, Error> {
        let channel = channel(self.address);
        session.run(&format!("LISTEN {channel}")).await?;
        let other = self.store.requests.session().await?;
        // No lock has an empty name.
        let echo = "SELECT pg_catalog.pg_notify($1, '')";
        other.ask_again(echo, &[(&channel, Type::TEXT)]).await?;
        let echo = async { while heard.recv().await.is_some_and(|said| !said.is_empty()) {} };
        let patience = if session.is_ours() { ECHO } else { POOLED_ECHO };
        let is_heard = tokio::select! {
            biased;
            () = echo => true,
            () = Patience::of(patience).end(&*self.dial.runtime) => false,
        };
        if !is_heard {
            // Whose session it was: mostly the one that the pooler used last.
            session.run(&format!("UNLISTEN {channel}")).await?;
        }
        Ok(is_heard)
    }
}
