//! One connection to a server: many requests under way at once, answered in
//! order, and what the server says unasked.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ::redis::{Cmd, Value};
use bytes::{Buf, BytesMut};
use tokio::io::AsyncWrite;
use tokio::sync::{Notify, oneshot};

use super::failure::Failure;
use super::inbox::Inbox;
use crate::error::{Error, Outcome};
use crate::runtime::Runtime;
use crate::time::Instant;

/// A server that answers nothing for this long, or for up to twice as long, is
/// given up, and the connection made anew.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection. It works while it is [driven](Link::drive).
pub(super) struct Link {
    /// Different for every connection of this client.
    pub(super) number: u64,
    clock: Arc<dyn Runtime>,
    queue: Mutex<Queue>,
    inbox: Mutex<Inbox>,
    /// Rung when the driver has something to write.
    flush: Notify,
    /// Rung when an answer is waited for and the driver does not watch.
    watch: Notify,
    /// Rung when the server did not know a script, and nobody waited to hear it.
    pub(super) forgot: Notify,
}

struct Queue {
    writer: Pin<Box<dyn AsyncWrite + Send>>,
    /// What could not be written at once.
    unwritten: BytesMut,
    waiting: VecDeque<oneshot::Sender<Value>>,
    sent: u64,
    answered: u64,
    /// Since when nothing has come that is waited for.
    silent_since: Option<Instant>,
    watched: bool,
    /// Why it has ended.
    broken: Option<Arc<str>>,
}

impl Link {
    pub(super) fn over(
        number: u64,
        clock: Arc<dyn Runtime>,
        inbox: Inbox,
        writer: impl AsyncWrite + Send + 'static,
    ) -> Arc<Self> {
        let queue = Queue {
            writer: Box::pin(writer),
            unwritten: BytesMut::new(),
            waiting: VecDeque::new(),
            sent: 0,
            answered: 0,
            silent_since: None,
            watched: false,
            broken: None,
        };
        Arc::new(Self {
            number,
            clock,
            queue: Mutex::new(queue),
            inbox: Mutex::new(inbox),
            flush: Notify::new(),
            watch: Notify::new(),
            forgot: Notify::new(),
        })
    }

    /// Put a request on its way, after all that were sent before. It is carried
    /// out even if the answer is not waited for.
    pub(super) fn send(&self, command: &Cmd) -> Result<Answering, Failure> {
        let mut queue = self.queue();
        if let Some(why) = &queue.broken {
            return Err(Error::unavailable(&**why).into());
        }
        let (tell, answer) = oneshot::channel();
        let packed = command.get_packed_command();
        // The caller's thread writes it itself, unless others are under way:
        // those are then written together.
        let alone = queue.waiting.is_empty() && queue.unwritten.is_empty();
        queue.waiting.push_back(tell);
        queue.sent += 1;
        queue.silent_since.get_or_insert_with(|| self.clock.now());
        if !(alone && queue.write_at_once(&packed)) {
            self.flush.notify_one();
        }
        if !alone {
            queue.unwritten.extend_from_slice(&packed);
        }
        if !std::mem::replace(&mut queue.watched, true) {
            self.watch.notify_one();
        }
        Ok(Answering(answer))
    }

    /// One request and its answer. An error that the server answers is an `Err`.
    pub(super) async fn call(&self, command: &Cmd) -> Result<Value, Failure> {
        self.send(command)?.wait(self).await
    }

    /// Whether it works and no answer is overdue.
    pub(super) fn is_prompt(&self, within: Duration) -> bool {
        let queue = self.queue();
        let overdue = |since| self.clock.now().since(since) >= within;
        queue.broken.is_none() && !queue.silent_since.is_some_and(overdue)
    }

    /// End the connection; every request under way fails.
    pub(super) fn shut(&self, why: &str) {
        let mut queue = self.queue();
        queue.broken.get_or_insert_with(|| why.into());
        queue.waiting.clear();
        drop(queue);
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
pub(super) struct Answering(oneshot::Receiver<Value>);

impl Answering {
    pub(super) async fn wait(self, link: &Link) -> Result<Value, Failure> {
        match self.0.await {
            Ok(Value::ServerError(error)) => Err(Failure::answer(error.code(), error.details())),
            Ok(value) => Ok(value),
            Err(_) => Err(link.ended()),
        }
    }
}

impl Queue {
    /// Answers whether all is written; else the driver has the rest to do, and
    /// finds the error if there was one.
    fn write_at_once(&mut self, packed: &[u8]) -> bool {
        let mut now = Context::from_waker(Waker::noop());
        let written = match self.writer.as_mut().poll_write(&mut now, packed) {
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(_)) | Poll::Pending => 0,
        };
        self.unwritten.extend_from_slice(packed.get(written..).unwrap_or_default());
        let flushed = self.writer.as_mut().poll_flush(&mut now);
        self.unwritten.is_empty() && matches!(flushed, Poll::Ready(Ok(())))
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unwritten.is_empty() {
            match self.writer.as_mut().poll_write(cx, &self.unwritten) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => self.unwritten.advance(written),
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => return Poll::Pending,
            }
        }
        self.writer.as_mut().poll_flush(cx)
    }
}

impl Link {
    /// Drive the connection to its end; answers why it ended.
    pub(super) async fn drive(&self, runtime: &dyn Runtime) -> String {
        let why = tokio::select! {
            biased;
            why = std::future::poll_fn(|cx| self.inbox().poll_read(self, cx)) => why,
            why = self.write() => why,
            () = self.until_hung(runtime) => {
                format!("the server has not answered for {RESPONSE_TIMEOUT:?}; is it alive?")
            }
        };
        self.shut(&why);
        why
    }

    /// Drive it while something is done with it.
    pub(super) async fn driven<T>(
        &self,
        doing: impl Future<Output = Result<T, Failure>>,
        runtime: &dyn Runtime,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            result = doing => result,
            why = self.drive(runtime) => Err(Error::unavailable(why).into()),
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hand out answers, in order; returns those that nobody waits for.
    pub(super) fn deliver(&self, values: impl Iterator<Item = Value>) -> Vec<Value> {
        let (mut told, mut unasked) = (Vec::new(), Vec::new());
        let mut queue = self.queue();
        for value in values {
            match queue.waiting.pop_front() {
                Some(tell) => told.push((tell, value)),
                None => unasked.push(value),
            }
        }
        queue.answered += told.len() as u64;
        queue.silent_since = (!queue.waiting.is_empty()).then(|| self.clock.now());
        drop(queue);
        for (tell, value) in told {
            match tell.send(value) {
                Err(Value::ServerError(error)) if error.code() == "NOSCRIPT" => {
                    self.forgot.notify_one();
                }
                _ => {}
            }
        }
        unasked
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
        loop {
            let sent = {
                let mut queue = self.queue();
                queue.watched = !queue.waiting.is_empty();
                queue.watched.then_some(queue.sent)
            };
            let Some(sent) = sent else {
                self.watch.notified().await;
                continue;
            };
            runtime.sleep(RESPONSE_TIMEOUT).await;
            if self.queue().answered < sent {
                return;
            }
        }
    }
}
