//! Elections: who leads, and what it shows.

use std::sync::Arc;

use leasehold::Error;
use leasehold::runtime::ThreadRuntime;

use crate::calls::{Answer, Cancel, Reply};
use crate::client::Lock;
use crate::values::{Failure, Settings, with};

#[derive(uniffi::Object)]
pub struct Election {
    core: leasehold::Client,
    runtime: Arc<ThreadRuntime>,
    name: String,
    settings: Settings,
}

/// As it is campaigned for.
pub(crate) fn election(
    core: &leasehold::Client,
    name: &str,
    settings: Settings,
) -> Result<leasehold::Election, Error> {
    Ok(with!(core.election(name), settings, value))
}

impl Election {
    pub(crate) fn new(
        core: leasehold::Client,
        runtime: Arc<ThreadRuntime>,
        name: String,
        settings: Settings,
    ) -> Self {
        Self { core, runtime, name, settings }
    }

    fn plan(&self) -> Result<leasehold::Election, Error> {
        election(&self.core, &self.name, self.settings.clone())
    }
}

#[uniffi::export]
impl Election {
    /// What is wrong with its name or options.
    pub fn check(&self) -> Option<Failure> {
        self.plan().and_then(|election| election.check()).err().map(Failure::from)
    }

    /// What is taken to campaign.
    pub fn lock(&self) -> Lock {
        let (core, runtime) = (self.core.clone(), self.runtime.clone());
        Lock::of_election(core, runtime, self.name.clone(), self.settings.clone())
    }

    /// Answers no leader when nobody leads.
    pub fn leader(self: Arc<Self>, cancel: Arc<Cancel>, reply: Box<dyn Reply>) {
        cancel.start(&self.runtime.clone(), reply, async move {
            let leader = self.plan()?.leader().await?;
            Ok(Answer::Leader { value: leader.map(Into::into) })
        });
    }

    pub fn observe(&self) -> Leaders {
        let leaders = Arc::new(self.core.election(&self.name).observe());
        Leaders { leaders, runtime: self.runtime.clone() }
    }
}

#[derive(uniffi::Object)]
pub struct Leaders {
    leaders: Arc<leasehold::Leaders>,
    runtime: Arc<ThreadRuntime>,
}

#[uniffi::export]
impl Leaders {
    /// Answers no leader when nobody leads.
    pub fn next(&self, cancel: Arc<Cancel>, reply: Box<dyn Reply>) {
        let leaders = self.leaders.clone();
        let work =
            async move { Ok(Answer::Leader { value: leaders.next().await?.map(Into::into) }) };
        cancel.start(&self.runtime, reply, work);
    }
}
