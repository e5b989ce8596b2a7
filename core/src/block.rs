//! Work that is done under a lease in Rust: what is polled as a part of it is inside of it.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task;

use crate::engine::Asker;

thread_local! {
    /// The blocks whose work this thread polls now, the outermost first.
    static POLLED: RefCell<Vec<Polled>> = const { RefCell::new(Vec::new()) };
}

#[derive(Clone, Copy)]
struct Polled {
    block: u64,
    /// Other tasks that the work polls, such as those of a `LocalSet`, go on without it.
    task: Option<task::Id>,
}

/// Do the work of a block, whose leases are to bear its number meanwhile, and then none.
pub(crate) async fn inside<F: Future>(bear: impl Fn(u64), mut work: Pin<&mut F>) -> F::Output {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let block = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    bear(block);
    let done = poll_fn(|context| {
        let _polled = Guard::of(Polled { block, task: task::try_id() });
        work.as_mut().poll(context)
    })
    .await;
    bear(0);
    done
}

/// Who asks here: the blocks that go on when it has its answer.
pub(crate) fn asker() -> Asker {
    let here = |all: &RefCell<Vec<Polled>>| {
        let all = all.borrow();
        if all.is_empty() {
            return Asker::Unknown;
        }
        let task = task::try_id();
        let own = all.iter().filter(|polled| polled.task == task);
        Asker::of(&own.map(|polled| polled.block).collect::<Vec<_>>())
    };
    POLLED.try_with(here).unwrap_or_default()
}

/// A poll, however it ends.
struct Guard;

impl Guard {
    fn of(polled: Polled) -> Self {
        POLLED.with_borrow_mut(|all| all.push(polled));
        Self
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        POLLED.with_borrow_mut(Vec::pop);
    }
}
