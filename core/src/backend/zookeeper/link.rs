//! A connection over which a session is used.
//!
//! Requests are answered in the order in which they were sent. Each has a number, which its
//! answer repeats; one that has another number, or is not an answer to what was asked, ends
//! the connection. Nor does a later connection of the session use a number again: a server
//! knows by it which write was committed (`CommitProcessor`), and would take one that was sent
//! over the connection before for an answer.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, oneshot};

use super::failure::{Code, Failure};
use super::jute::Reader;
use super::proof::Proof;
use super::words::{Access, Ask, EVENT, Event, Head, Said};
use crate::backend::net::Patience;
use crate::runtime::Runtime;
use crate::time::{Instant, drift};

/// No message is longer: a hundred thousand children make a list of six megabytes.
pub(super) const MOST_BYTES: usize = 32 << 20;

/// Who is told the answer, once, on the thread that reads. It does not wait.
pub(super) type Tell = Box<dyn FnOnce(Result<Said, Failure>) + Send>;

/// Who is told of what changed.
pub(super) type Hear = Box<dyn Fn(&Arc<Link>, &str) + Send + Sync>;

/// One connection, shared by all who ask over it.
pub(super) struct Link {
    /// No other of this client has it.
    pub(super) number: u64,
    /// The session that is used over it.
    pub(super) session: i64,
    pub(super) proof: Arc<Proof>,
    /// How long that goes on without a word.
    pub(super) timeout: Duration,
    access: Access,
    goes_on: Arc<GoesOn>,
    state: Mutex<State>,
    /// Rung when there is something to be written.
    bell: Notify,
    hear: Hear,
}

/// What goes on with the next connection.
#[derive(Default)]
pub(super) struct GoesOn {
    /// The newest transaction that a server has told of.
    pub(super) seen: AtomicI64,
    /// How many requests were sent.
    sent: AtomicU32,
}

impl GoesOn {
    /// The number of a request. Answers to nobody have numbers below zero.
    fn number(&self) -> i32 {
        (self.sent.fetch_add(1, Ordering::Relaxed) & i32::MAX.unsigned_abs()).cast_signed()
    }
}

#[derive(Default)]
struct State {
    /// What is to be written.
    out: Vec<u8>,
    /// How much was taken to be written, and how much there was ever to write.
    taken: u64,
    total: u64,
    asked: VecDeque<Asked>,
    /// How many answers have come.
    answers: u64,
    /// Why it is used no more.
    end: Option<String>,
}

struct Asked {
    xid: i32,
    ask: Ask,
    /// Where it begins in what is written.
    at: u64,
    tell: Tell,
}

impl Link {
    pub(super) fn new(
        (number, session): (u64, i64),
        (proof, timeout): (Arc<Proof>, Duration),
        access: Access,
        goes_on: Arc<GoesOn>,
        hear: Hear,
    ) -> Arc<Self> {
        let (state, bell) = (Mutex::default(), Notify::new());
        Arc::new(Self { number, session, proof, timeout, access, goes_on, state, bell, hear })
    }

    /// Send requests in one go. Each is told its answer, or why it has none.
    pub(super) fn send_all(&self, asks: impl IntoIterator<Item = (Ask, Tell)>) {
        let mut unsent = Vec::new();
        let mut state = self.state();
        for (ask, tell) in asks {
            if let Some(end) = &state.end {
                unsent.push((tell, Failure::unsent(end)));
                continue;
            }
            let xid = self.goes_on.number();
            let (message, at) = (ask.message(xid, self.access), state.total);
            state.total += message.len() as u64;
            state.out.extend_from_slice(&message);
            state.asked.push_back(Asked { xid, ask, at, tell });
        }
        drop(state);
        self.bell.notify_one();
        for (tell, failure) in unsent {
            tell(Err(failure));
        }
    }

    /// Send a request; its answer.
    pub(super) fn send(&self, ask: Ask) -> Answer {
        let (tell, answer) = answer();
        self.send_all([(ask, tell)]);
        answer
    }

    pub(super) async fn ask(&self, ask: Ask) -> Result<Said, Failure> {
        self.send(ask).await_it().await
    }

    /// Nothing is asked over it any more. Who waits is told why.
    pub(super) fn shut(&self, why: &str) {
        let mut state = self.state();
        state.end.get_or_insert_with(|| why.to_owned());
        let (asked, taken) = (std::mem::take(&mut state.asked), state.taken);
        state.out = Vec::new();
        drop(state);
        self.bell.notify_one();
        for Asked { at, tell, .. } in asked {
            tell(Err(if at < taken { Failure::lost(why) } else { Failure::unsent(why) }));
        }
    }

    /// Until when the session lives for certain; `None` if it is over.
    pub(super) fn ends(&self) -> Option<Instant> {
        self.proof.since().map(|since| since + self.timeout)
    }

    /// How long it must live for a lease of this ttl that was asked for at `sent`. A holder
    /// allows for clocks that drift apart over its ttl, and the leader counts for longer.
    pub(super) fn wanted(&self, sent: Instant, ttl: Duration) -> Instant {
        let longer = self.timeout.saturating_sub(ttl);
        sent + ttl + drift(longer).saturating_sub(drift(Duration::ZERO))
    }

    pub(super) fn is_shut(&self) -> bool {
        self.state().end.is_some()
    }

    /// Read and write until it breaks; answers why it did. `limit`: how long a server is
    /// waited for; `pace`: how often it is asked for a sign of life.
    pub(super) async fn drive(
        self: &Arc<Self>,
        (from, into): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
        runtime: &dyn Runtime,
        limit: Duration,
        pace: Duration,
    ) -> String {
        let why = tokio::select! {
            why = self.read(from) => why,
            why = self.write(into) => why,
            why = self.watch(runtime, limit) => why,
            () = self.beat(runtime, pace) => String::new(),
        };
        self.shut(&why);
        why
    }

    async fn write(&self, mut into: impl AsyncWrite + Unpin) -> String {
        loop {
            let bytes = {
                let mut state = self.state();
                if let Some(end) = &state.end {
                    return end.clone();
                }
                state.taken = state.total;
                std::mem::take(&mut state.out)
            };
            if bytes.is_empty() {
                self.bell.notified().await;
                continue;
            }
            let written = async {
                into.write_all(&bytes).await?;
                into.flush().await
            };
            if let Err(e) = written.await {
                return format!("the connection to the server broke: {e}");
            }
        }
    }

    async fn read(self: &Arc<Self>, mut from: impl AsyncRead + Unpin) -> String {
        let mut unread = Vec::with_capacity(4096);
        loop {
            match from.read_buf(&mut unread).await {
                Ok(0) => return "the server has closed the connection".to_owned(),
                Ok(_) => {}
                Err(e) => return format!("the connection to the server broke: {e}"),
            }
            let mut done = 0;
            loop {
                match frame(&unread[done..]) {
                    Ok(Some(message)) => {
                        done += 4 + message.len();
                        if let Err(why) = self.take(message) {
                            return why;
                        }
                    }
                    Ok(None) => break,
                    Err(why) => return why,
                }
            }
            unread.drain(..done);
        }
    }

    /// What one message says.
    fn take(self: &Arc<Self>, message: &[u8]) -> Result<(), String> {
        let odd = |what: &str| format!("ZooKeeper said something that cannot be: {what}");
        let mut body = Reader::of(message);
        let head = Head::read(&mut body).map_err(|_| odd("a message without a head"))?;
        if head.xid == EVENT {
            let event = Event::read(body).map_err(|_| odd("an event that is none"))?;
            if let Event::Node(path) = event {
                (self.hear)(self, &path);
            }
            return Ok(());
        }
        let asked = {
            let mut state = self.state();
            let is_next = |asked: &Asked| asked.xid == head.xid && asked.at < state.taken;
            if !state.asked.front().is_some_and(is_next) {
                return Err(odd("an answer to nothing that was asked"));
            }
            state.answers += 1;
            state.asked.pop_front()
        };
        let Some(Asked { ask, tell, .. }) = asked else { return Ok(()) };
        if head.zxid > 0 {
            self.goes_on.seen.fetch_max(head.zxid, Ordering::Relaxed);
        }
        if head.code != 0 {
            let code = Code(head.code);
            tell(Err(match code.ends_the_connection() {
                // Perhaps an earlier one has reached another server.
                true => Failure::lost("the session is not used over this connection any more"),
                false => Failure::Code(code),
            }));
            let why = "the session is over, or used over another connection";
            return if code.ends_the_connection() { Err(why.to_owned()) } else { Ok(()) };
        }
        match ask.answer(body) {
            Ok(said) => {
                tell(Ok(said));
                Ok(())
            }
            Err(_) => {
                let why = odd("an answer that is none to what was asked");
                tell(Err(Failure::lost(&why)));
                Err(why)
            }
        }
    }

    /// Answers when one is due and does not come.
    async fn watch(&self, runtime: &dyn Runtime, limit: Duration) -> String {
        loop {
            let answers = {
                let state = self.state();
                // What writes may hang, and not hear of it.
                if let Some(end) = &state.end {
                    return end.clone();
                }
                (!state.asked.is_empty()).then_some(state.answers)
            };
            let mut patience = Patience::of(limit);
            loop {
                let is_last = patience.slice(runtime).await;
                let state = self.state();
                if answers.is_none_or(|answers| state.answers != answers) {
                    break;
                }
                if is_last {
                    return format!(
                        "the server did not answer within {limit:?} (response_timeout)"
                    );
                }
            }
        }
    }

    /// One at once, as the session may go on by this connection; then two in a row, at that
    /// distance. See [`Proof`].
    async fn beat(&self, runtime: &dyn Runtime, pace: Duration) {
        let mut in_a_row = 1;
        loop {
            for _ in 0..in_a_row {
                let sent = runtime.now();
                // One at a time: without an answer there is nothing to go on from.
                let nothing = Ask::Delete { path: NOTHING.to_owned() };
                if is_beat(self.ask(nothing).await) {
                    self.proof.beat(sent, runtime.now());
                }
            }
            in_a_row = 2;
            runtime.sleep(pace).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a beat deletes: a node that is not there, nor the one above it.
const NOTHING: &str = "/%leasehold/nothing";

/// Whether a majority has noted that nothing was deleted.
fn is_beat(answer: Result<Said, Failure>) -> bool {
    answer.map_or_else(|failure| failure.is(Code::NO_NODE), |_| true)
}

/// An answer that is waited for.
pub(super) struct Answer(oneshot::Receiver<Result<Said, Failure>>);

/// It, and what tells it.
pub(super) fn answer() -> (Tell, Answer) {
    let (tell, answer) = oneshot::channel();
    (Box::new(move |said| drop(tell.send(said))), Answer(answer))
}

impl Answer {
    pub(super) async fn await_it(self) -> Result<Said, Failure> {
        let ended = || Err(Failure::lost("the client's thread has ended"));
        self.0.await.unwrap_or_else(|_| ended())
    }
}

/// The first message, if it is there as a whole.
pub(super) fn frame(unread: &[u8]) -> Result<Option<&[u8]>, String> {
    let Some((length, rest)) = unread.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if length > MOST_BYTES {
        return Err(format!("the server sends {length} bytes at once; is it a ZooKeeper?"));
    }
    Ok(rest.get(..length))
}
