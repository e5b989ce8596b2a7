//! Calls of the core that Swift waits for. They run on the thread of their client,
//! in the order in which they are begun, and answer from there.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::task::{Context, Waker};

use leasehold::runtime::{BoxFuture, Runtime, ThreadRuntime};
use leasehold::{Error, Kind};
use tokio::sync::watch;

use crate::client::Client;
use crate::lease::Lease;
use crate::values::{Deadlock, Event, Failure, Leader, Status};

/// What a call answers.
#[derive(uniffi::Enum)]
pub enum Answer {
    Nothing,
    Flag { value: bool },
    Client { value: Arc<Client> },
    Lease { value: Option<Arc<Lease>> },
    Skipped { why: String, next_in: i64 },
    Loss { code: Option<String> },
    Ticket { text: String },
    Statuses { value: Vec<Status> },
    Deadlocks { value: Vec<Deadlock> },
    Event { value: Option<Event> },
    Leader { value: Option<Leader> },
    Failed { failure: Failure },
}

/// Who waits for a call. It is told exactly once.
#[uniffi::export(callback_interface)]
pub trait Reply: Send + Sync {
    fn done(&self, answer: Answer);
}

/// Ends a call. It stays set: a call that is begun later ends at once.
#[derive(uniffi::Object)]
pub struct Cancel(watch::Sender<bool>);

#[uniffi::export]
impl Cancel {
    #[allow(clippy::new_without_default)] // made by Swift
    #[uniffi::constructor]
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    pub fn cancel(&self) {
        self.0.send_replace(true);
    }
}

impl Cancel {
    /// Begin a call that this ends: its work is dropped where it stands, and leaves
    /// nothing behind.
    pub(crate) fn start(
        self: Arc<Self>,
        runtime: &Arc<ThreadRuntime>,
        reply: Box<dyn Reply>,
        work: impl Future<Output = Result<Answer, Error>> + Send + 'static,
    ) {
        start(runtime, reply, async move {
            let mut is_set = self.0.subscribe();
            tokio::select! {
                biased;
                _ = is_set.wait_for(|is_set| *is_set) => {
                    Err(Error::new(Kind::Cancelled, "the task was cancelled"))
                }
                done = work => done,
            }
        });
    }
}

/// Begin a call that goes to its end.
pub(crate) fn start(
    runtime: &Arc<ThreadRuntime>,
    reply: Box<dyn Reply>,
    work: impl Future<Output = Result<Answer, Error>> + Send + 'static,
) {
    let reply = Answering { reply, answer: None, runtime: Arc::downgrade(runtime) };
    let mut call: BoxFuture = Box::pin(async move {
        let answer = work.await;
        reply.give(answer.unwrap_or_else(|e| Answer::Failed { failure: e.into() }));
    });
    if runtime.is_stopped() {
        // The client is closed: whatever is asked of it is answered at once.
        let mut context = Context::from_waker(Waker::noop());
        let once = AssertUnwindSafe(move || call.as_mut().poll(&mut context));
        let _ = catch_unwind(once);
    } else {
        runtime.spawn(call);
    }
}

/// Answers when it is dropped, so also when the work panics or is never begun.
struct Answering {
    reply: Box<dyn Reply>,
    answer: Option<Answer>,
    runtime: Weak<ThreadRuntime>,
}

impl Answering {
    fn give(mut self, answer: Answer) {
        self.answer = Some(answer);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let none = || match self.runtime.upgrade().is_none_or(|runtime| runtime.is_stopped()) {
            true => Error::new(Kind::Closed, "this client was closed; connect again"),
            false => Error::new(Kind::Internal, "a call ended without an answer"),
        };
        let answer = self.answer.take();
        self.reply.done(answer.unwrap_or_else(|| Answer::Failed { failure: none().into() }));
    }
}
