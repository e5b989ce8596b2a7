//! One connection to a server: many requests under way at once, answered in
//! order.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use ::redis::Value;
use tokio::io::AsyncWrite;
use tokio::sync::{Notify, oneshot};

use super::command::{Command, Number};
use super::failure::Failure;
use super::inbox::{Come, Ears, Inbox};
use super::loan::Tending;
use super::queue::{Expected, Queue, Repeat, Told, Waiting};
use super::socket::Socket;
use crate::backend::net::Patience;
use crate::error::{Error, Outcome};
use crate::runtime::Runtime;

/// A connection. It works while it is [driven](Link::drive).
pub(super) struct Link {
    /// Different for every connection of this client.
    pub(super) number: u64,
    pub(super) clock: Arc<dyn Runtime>,
    /// A server that answers nothing for this long is given up.
    response_timeout: Duration,
    /// The next number that only one request has.
    next: AtomicU64,
    pub(super) socket: Socket,
    /// A child has the socket of its parent, and must not end it.
    process: u32,
    /// Locked before the queue: what is read is matched with who waits in order.
    inbox: Mutex<Inbox>,
    queue: Mutex<Queue>,
    ears: Arc<Ears>,
    /// Who waits until there is something to read or to write.
    pub(super) tending: Tending,
    /// Rung when an answer is waited for and the driver does not watch.
    watch: Notify,
    /// Rung when the server did not know a script, and nobody waited to hear it.
    pub(super) forgot: Notify,
}

impl Link {
    pub(super) fn over(
        number: u64,
        (clock, response_timeout): (Arc<dyn Runtime>, Duration),
        (inbox, ears): (Inbox, Arc<Ears>),
        writer: impl AsyncWrite + Send + 'static,
        socket: Socket,
    ) -> Arc<Self> {
        // Not even an answer that a middleman gives twice, or to another's
        // connection, can be taken for one of this connection.
        let next = AtomicU64::new(clock.random() as u64);
        Arc::new(Self {
            number,
            clock,
            response_timeout,
            next,
            socket,
            process: std::process::id(),
            inbox: Mutex::new(inbox),
            queue: Mutex::new(Queue::over(writer)),
            ears,
            tending: Tending::default(),
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
            self.write_soon();
        }
        if !is_watched {
            self.watch.notify_one();
        }
        Ok(Answering(answer))
    }

    /// One request and its answer. A refusal is an `Err`.
    pub(super) async fn ask(
        self: &Arc<Self>,
        command: Command,
        expected: Expected,
        repeat: Option<Repeat>,
    ) -> Result<Value, Failure> {
        self.send(command, expected, repeat)?.wait(self).await
    }

    /// The same of a plain command. What it answers does not say whose it is.
    pub(super) async fn call(self: &Arc<Self>, command: Command) -> Result<Value, Failure> {
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
        if !self.is_foreign() {
            // Also who has it on loan, and is not polled.
            self.socket.shut_down();
        }
        self.tending.flush.notify_one();
    }

    /// Whether it is a child's copy of its parent's.
    pub(super) fn is_foreign(&self) -> bool {
        self.process != std::process::id()
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
    pub(super) async fn wait(mut self, link: &Arc<Link>) -> Result<Value, Failure> {
        let answer = poll_fn(|cx| {
            let answer = Pin::new(&mut self.0).poll(cx);
            if answer.is_pending() {
                link.lend();
            }
            answer
        });
        answer.await.unwrap_or_else(|_| Err(link.ended()))
    }
}

impl Link {
    /// Drive the connection to its end; answers why it ended.
    pub(super) async fn drive(&self, runtime: &dyn Runtime) -> String {
        let why = tokio::select! {
            biased;
            why = self.tend() => why,
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
            why = self.tend() => why,
        };
        self.shut(&why);
        // The last that came may be its answer, or say why there is none.
        doing.await
    }

    /// Why it has ended, if it has.
    pub(super) fn broken(&self) -> Option<String> {
        self.queue().broken.as_deref().map(str::to_owned)
    }

    /// Write what is left, as far as there is room; an error says why it has ended.
    pub(super) fn write(&self) -> Poll<Result<(), String>> {
        let mut queue = self.queue();
        if let Some(why) = &queue.broken {
            return Poll::Ready(Err(why.to_string()));
        }
        queue.flush().map_err(|e| format!("the connection broke: {e}"))
    }

    /// Something is left to be written: by whoever tends the link, or here if that only
    /// reads.
    pub(super) fn write_soon(&self) {
        if !self.tending.ring_to_write() && self.write().is_pending() {
            // The client's thread waits for room.
            self.tending.end_any();
        }
    }

    pub(super) fn is_answer_awaited(&self) -> bool {
        self.queue().is_awaited()
    }

    pub(super) fn are_news_awaited(&self) -> bool {
        self.ears.are_awaited()
    }

    /// Read all that has come and hand it out, whoever calls; answers whether anything
    /// had, or why nothing more will.
    pub(super) fn read(&self) -> Result<bool, String> {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        let Come { heard, news, mut end } = inbox.read();
        let any = !heard.is_empty() || !news.is_empty();
        let (mut told, mut is_written) = (Vec::new(), true);
        if !heard.is_empty() {
            let mut queue = self.queue();
            let taken;
            (told, taken) = queue.take(heard);
            end = taken.err().or(end);
            queue.silent_since = (!queue.waiting.is_empty()).then(|| self.clock.now());
            is_written = queue.unwritten.is_empty();
        }
        if let Some(why) = &end {
            // Before anybody hears that there is no answer.
            self.queue().shut(why);
        }
        drop(inbox);
        if !is_written {
            self.write_soon();
        }
        for Told { tell, answer } in told {
            if let Err(Err(failure)) = tell.send(answer)
                && failure.code == "NOSCRIPT"
            {
                self.forgot.notify_one();
            }
        }
        for news in news {
            self.ears.tell(news);
        }
        end.map_or(Ok(any), Err)
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
