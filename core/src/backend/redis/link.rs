//! One connection to a server: many requests under way at once, answered in
//! order.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::redis::Value;
use tokio::io::AsyncWrite;
use tokio::sync::{Notify, oneshot};

use super::command::{Command, Number};
use super::failure::Failure;
use super::inbox::{Heard, Inbox};
use super::queue::{Expected, Queue, Repeat, Told, Waiting};
use crate::backend::net::Patience;
use crate::error::{Error, Outcome};
use crate::runtime::Runtime;

/// A connection. It works while it is [driven](Link::drive).
pub(super) struct Link {
    /// Different for every connection of this client.
    pub(super) number: u64,
    clock: Arc<dyn Runtime>,
    /// A server that answers nothing for this long is given up.
    response_timeout: Duration,
    /// The next number that only one request has.
    next: AtomicU64,
    queue: Mutex<Queue>,
    inbox: Mutex<Inbox>,
    /// Rung when the driver has something to write.
    flush: Notify,
    /// Rung when an answer is waited for and the driver does not watch.
    watch: Notify,
    /// Rung when the server did not know a script, and nobody waited to hear it.
    pub(super) forgot: Notify,
}

impl Link {
    pub(super) fn over(
        number: u64,
        clock: Arc<dyn Runtime>,
        response_timeout: Duration,
        inbox: Inbox,
        writer: impl AsyncWrite + Send + 'static,
    ) -> Arc<Self> {
        // Not even an answer that a middleman gives twice, or to another's
        // connection, can be taken for one of this connection.
        let next = AtomicU64::new(clock.random() as u64);
        Arc::new(Self {
            number,
            clock,
            response_timeout,
            next,
            queue: Mutex::new(Queue::over(writer)),
            inbox: Mutex::new(inbox),
            flush: Notify::new(),
            watch: Notify::new(),
            forgot: Notify::new(),
        })
    }

    /// A number that only one request has.
    pub(super) fn next_number(&self) -> Number {
        Number(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Put a request on its way, after all that were sent before. It is carried
    /// out even if the answer is not waited for, unless it must be repeated.
    pub(super) fn send(
        &self,
        command: Command,
        expected: Expected,
        repeat: Option<Repeat>,
    ) -> Result<Answering, Failure> {
        let (tell, answer) = oneshot::channel();
        let waiting = Waiting { tell, command, expected, repeat };
        let mut queue = self.queue();
        if let Some(why) = &queue.broken {
            return Err(Error::unavailable(&**why).into());
        }
        let (is_written, is_watched) = queue.add(waiting, self.clock.now());
        drop(queue);
        if !is_written {
            self.flush.notify_one();
        }
        if !is_watched {
            self.watch.notify_one();
        }
        Ok(Answering(answer))
    }

    /// One request and its answer. A refusal is an `Err`.
    pub(super) async fn ask(
        &self,
        command: Command,
        expected: Expected,
        repeat: Option<Repeat>,
    ) -> Result<Value, Failure> {
        self.send(command, expected, repeat)?.wait(self).await
    }

    /// The same of a plain command. What it answers does not say whose it is.
    pub(super) async fn call(&self, command: Command) -> Result<Value, Failure> {
        self.ask(command, Expected::Word, None).await
    }

    /// Whether it works and no answer is overdue.
    pub(super) fn is_prompt(&self, within: Duration) -> bool {
        let queue = self.queue();
        let overdue = |since| self.clock.now().since(since) >= within;
        queue.broken.is_none() && !queue.silent_since.is_some_and(overdue)
    }

    /// Whether anything was ever answered.
    pub(super) fn has_answered(&self) -> bool {
        self.queue().answered > 0
    }

    /// End the connection; every request under way fails.
    pub(super) fn shut(&self, why: &str) {
        self.queue().shut(why);
        self.flush.notify_one();
    }

    fn ended(&self) -> Failure {
        let why = self.queue().broken.clone();
        let why = why.as_deref().unwrap_or("the connection to the server was closed");
        Error::unavailable(why).with_outcome(Outcome::Unknown).into()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer on its way.
pub(super) struct Answering(oneshot::Receiver<Result<Value, Failure>>);

impl Answering {
    pub(super) async fn wait(self, link: &Link) -> Result<Value, Failure> {
        self.0.await.unwrap_or_else(|_| Err(link.ended()))
    }
}

impl Link {
    /// Drive the connection to its end; answers why it ended.
    pub(super) async fn drive(&self, runtime: &dyn Runtime) -> String {
        let why = tokio::select! {
            biased;
            why = self.work() => why,
            () = self.until_hung(runtime) => format!(
                "the server has not answered for {:?} (response_timeout); is it alive?",
                self.response_timeout
            ),
        };
        self.shut(&why);
        why
    }

    /// Drive it while something is done with it, for as long as that takes.
    pub(super) async fn driven<T>(
        &self,
        doing: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut doing = pin!(doing);
        let why = tokio::select! {
            biased;
            result = &mut doing => return result,
            why = self.work() => why,
        };
        self.shut(&why);
        // The last that came may be its answer, or say why there is none.
        doing.await
    }

    /// Read and write until it ends; answers why it ended.
    async fn work(&self) -> String {
        tokio::select! {
            biased;
            why = std::future::poll_fn(|cx| self.poll_read(cx)) => why,
            why = self.write() => why,
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready when nothing more will come, with the reason.
    fn poll_read(&self, cx: &mut Context<'_>) -> Poll<String> {
        loop {
            let (heard, more) = ready!(self.inbox().poll_heard(cx));
            if let Err(why) = self.deliver(heard).and(more) {
                return Poll::Ready(why);
            }
        }
    }

    fn deliver(&self, heard: Vec<Heard>) -> Result<(), String> {
        if heard.is_empty() {
            return Ok(());
        }
        let mut queue = self.queue();
        let (told, more) = queue.take(heard);
        if let Err(why) = &more {
            // Before anybody hears that there is no answer.
            queue.shut(why);
        }
        queue.silent_since = (!queue.waiting.is_empty()).then(|| self.clock.now());
        let is_written = queue.unwritten.is_empty();
        drop(queue);
        if !is_written {
            self.flush.notify_one();
        }
        for Told { tell, answer } in told {
            if let Err(Err(failure)) = tell.send(answer)
                && failure.code == "NOSCRIPT"
            {
                self.forgot.notify_one();
            }
        }
        more
    }

    async fn write(&self) -> String {
        loop {
            let written = std::future::poll_fn(|cx| self.queue().poll_write_all(cx)).await;
            if let Err(e) = written {
                return format!("the connection broke: {e}");
            }
            self.flush.notified().await;
            if let Some(why) = &self.queue().broken {
                return why.to_string();
            }
        }
    }

    /// Ends when an answer is overdue. No timer runs while none is waited for.
    async fn until_hung(&self, runtime: &dyn Runtime) {
        let mut patience = Patience::of(self.response_timeout);
        loop {
            let answered = {
                let mut queue = self.queue();
                queue.watched = !queue.waiting.is_empty();
                queue.watched.then_some(queue.answered)
            };
            let Some(answered) = answered else {
                self.watch.notified().await;
                patience = Patience::of(self.response_timeout);
                continue;
            };
            let is_over = patience.slice(runtime).await;
            if self.queue().answered != answered {
                patience = Patience::of(self.response_timeout);
            } else if is_over {
                return;
            }
        }
    }
}
