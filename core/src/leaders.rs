//! Who leads, one after the other, for those who only look on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::anchor::Anchor;
use crate::election::Leader;
use crate::engine::Engine;
use crate::error::{Error, Kind};
use crate::name::LockName;
use crate::time::Instant;

/// The backend is asked again after this at the latest,
const LATEST: Duration = Duration::from_secs(1);
/// and not sooner than this, also where a term is about to end.
const SOONEST: Duration = Duration::from_millis(20);

/// Who leads, one after the other; see [`Election::observe`](crate::Election::observe).
pub struct Leaders {
    anchor: Arc<Anchor>,
    name: String,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// When the backend is asked again; `None`: at once.
    due: Option<Instant>,
    told: Told,
}

/// What was told last.
#[derive(Default, PartialEq, Eq)]
enum Told {
    #[default]
    Nothing,
    Leader(Option<Leader>),
    Trouble,
}

impl Told {
    /// What makes a leader another one.
    fn leader(leader: &Option<Leader>) -> Self {
        let timeless = |leader: &Leader| Leader {
            held_for: Duration::ZERO,
            free_in: Duration::ZERO,
            ..leader.clone()
        };
        Self::Leader(leader.as_ref().map(timeless))
    }
}

impl Leaders {
    pub(crate) fn new(anchor: Arc<Anchor>, name: String) -> Self {
        Self { anchor, name, seen: Mutex::default() }
    }

    /// Wait for the next: the present leader first, then whenever another one leads,
    /// the leader shows another value, or nobody leads, which is `None`.
    ///
    /// It is the answer to a question that was asked after this was called or waited
    /// for. The backend is asked again after a second at the latest, and when the
    /// leader's term has ended unless it was renewed. A leader that came and went
    /// between two questions is not told. When several wait, each gets another.
    ///
    /// # Errors
    /// As [`Election::leader`](crate::Election::leader), once for each outage: the next
    /// call waits until the backend answers again, and tells who leads then. What does
    /// not go away is told each time: `closed`, `invalid`, and what forbids to connect.
    ///
    /// # Cancel safety
    /// Cancel safe; nothing is missed.
    pub async fn next(&self) -> Result<Option<Leader>, Error> {
        let mut seen = self.seen.lock().await;
        loop {
            self.until(seen.due).await;
            let sent = self.anchor.connected().map(|engine| engine.runtime().now());
            let asked = self.ask(LATEST).await;
            let told = match &asked {
                Ok(leader) => Told::leader(leader),
                Err(_) => Told::Trouble,
            };
            let leader = asked.as_ref().ok().and_then(Option::as_ref);
            let lasts = leader.map_or(LATEST, |leader| leader.free_in);
            if let Some(engine) = self.anchor.connected() {
                let now = engine.runtime().now();
                let (ends, soonest) = (sent.unwrap_or(now) + lasts.min(LATEST), now + SOONEST);
                seen.due = Some(ends.max(soonest));
                if leader.is_some() && sent.unwrap_or(now) + lasts <= now {
                    // The answer was on its way for so long that its term may be over.
                    continue;
                }
            }
            let is_final = match asked.as_ref().map_err(Error::kind) {
                Ok(_) | Err(Kind::Unavailable) => false,
                // Until it is connected only that pauses before it is tried again.
                Err(kind) => seen.due.is_none() || matches!(kind, Kind::Closed | Kind::Invalid),
            };
            if is_final || told != seen.told {
                seen.told = told;
                return asked;
            }
        }
    }

    async fn until(&self, due: Option<Instant>) {
        if let (Some(due), Some(engine)) = (due, self.anchor.connected()) {
            let now = engine.runtime().now();
            tokio::select! {
                biased;
                () = engine.closed() => {}
                () = async { engine.runtime().sleep(due.since(now)).await } => {}
            }
        }
    }

    /// Who leads now.
    pub(crate) async fn ask(&self, patience: Duration) -> Result<Option<Leader>, Error> {
        let name = LockName::new(&self.name)?;
        let engine: &Arc<Engine> = self.anchor.engine(patience).await?;
        engine.check_open()?;
        let found = engine.look_at(&name).await.and_then(|status| Leader::of(status.as_ref()));
        found.map_err(|e| e.about(&name, engine.describe()))
    }
}

impl std::fmt::Debug for Leaders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaders").field("name", &self.name).finish()
    }
}
