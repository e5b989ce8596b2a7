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
    /// Refuse to wait without end for what is given back only when the waiting is over.
    pub(super) fn refuse_own(&self, plan: &Plan) -> Result<(), Error> {
        match self.own(plan) {
            None => Ok(()),
            Some(own) => {
                let message = format!("{own}; pass the lease along, or release it first");
                Err(Error::new(Kind::Refused, message))
            }
        }
    }

    /// Whether who asks is inside of a block that holds it, for people to read. A lease that
    /// nobody renews ends by itself.
    pub(super) fn own(&self, plan: &Plan) -> Option<String> {
        if matches!(plan.asker, Asker::Unknown) {
            return None;
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
        is_in_the_way.then(|| format!("this task {holds} already, and would wait for itself"))
    }
}
