//! A task that waits for what it holds itself would wait for ever, and is told so.

use std::sync::Arc;

use super::{Engine, Hold, Plan};
use crate::backend::Mode;
use crate::error::{Error, Kind};

/// Who asks for a lock: a task, and those that do nothing else until it has ended. Each is a
/// number that no other one has while it runs.
#[derive(Clone, Debug, Default)]
pub(crate) enum Asker {
    #[default]
    Unknown,
    Task(u64),
    /// The outermost first.
    Inner(Arc<[u64]>),
}

impl Asker {
    /// Zero is no task.
    pub(crate) fn of(tasks: &[u64]) -> Self {
        match tasks {
            [] | [0] => Self::Unknown,
            [task] => Self::Task(*task),
            all => Self::Inner(all.into()),
        }
    }

    fn is(&self, task: u64) -> bool {
        match self {
            Self::Unknown => false,
            Self::Task(one) => *one == task,
            Self::Inner(all) => all.contains(&task),
        }
    }
}

impl Engine {
    /// Refuse to wait for leases that are given back only when the waiting is over. Those
    /// that nobody renews end by themselves.
    pub(super) fn refuse_own(&self, plan: &Plan) -> Result<(), Error> {
        if matches!(plan.asker, Asker::Unknown) {
            return Ok(());
        }
        let held = self.keeper.named(&plan.name);
        let is_own = |hold: &&Arc<Hold>| {
            let is_kept = hold.held.renewed && !hold.is_over();
            is_kept && hold.task().is_some_and(|task| plan.asker.is(task))
        };
        let own: Vec<Mode> = held.iter().filter(is_own).map(|hold| hold.held.mode).collect();
        let (is_in_the_way, holds) = match plan.mode {
            Mode::Exclusive => (!own.is_empty(), "holds it"),
            // Other readers may come beside it.
            Mode::Shared => (own.contains(&Mode::Exclusive), "holds it"),
            Mode::Counted { permits } => (own.len() >= permits as usize, "holds all its permits"),
        };
        if !is_in_the_way {
            return Ok(());
        }
        let message = format!(
            "this task {holds} already, and would wait for itself without end; pass the lease \
             along, or release it first"
        );
        Err(Error::new(Kind::Refused, message))
    }
}
