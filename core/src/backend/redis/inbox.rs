//! What comes from a server, sorted by kind: answers, and what it says unasked.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ::redis::Value;
use bytes::BytesMut;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio_util::io::poll_read_buf;

use super::resp::{Decoder, Frame};
use crate::backend::{GRANT_WINDOW, Grant, Wake};
use crate::name::{LockName, Owner};

/// What may be the answer to a request.
pub(super) enum Heard {
    Answer(Value),
    Refusal(String),
    /// Our channel is subscribed.
    Subscribed,
}

/// What is heard unasked.
pub(super) enum News {
    /// The payload of a message on our channel.
    Message(Vec<u8>),
    /// The connection is a new one: messages may have been missed.
    Reconnected,
}

impl News {
    /// A message on our channel says `granted OWNER FENCE MS KEY`, or `gone KEY`.
    pub(super) fn means(self, prefix: &str) -> Option<Wake> {
        let Self::Message(message) = self else { return Some(Wake::All) };
        let message = std::str::from_utf8(&message).ok()?;
        let name = |key: &str| LockName::new(key.strip_prefix(prefix)?).ok();
        let (what, rest) = message.split_once(' ')?;
        if what == "gone" {
            return Some(Wake::Name(name(rest)?));
        }
        let mut words = rest.splitn(4, ' ');
        let owner = u128::from_str_radix(words.next()?, 16).ok()?;
        let (fence, millis) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Wake::Granted(Grant {
            name: name(words.next()?)?,
            owner: Owner::from_bits(owner),
            fence,
            // Whoever may publish here can say anything: it lasts no longer than any
            // that a script grants, until it is renewed.
            lasts: Duration::from_millis(millis).min(GRANT_WINDOW),
        }))
    }
}

/// Who is told what is heard unasked: one that is kept until somebody wants to be told
/// at once, where it is read.
pub(super) struct Ears {
    kept: mpsc::UnboundedSender<News>,
    tell: OnceLock<Box<dyn Fn(News) + Send + Sync>>,
    are_awaited: OnceLock<Box<dyn Fn() -> bool + Send + Sync>>,
}

impl Ears {
    pub(super) fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<News>) {
        let (kept, news) = mpsc::unbounded_channel();
        (Arc::new(Self { kept, tell: OnceLock::new(), are_awaited: OnceLock::new() }), news)
    }

    /// Tell it by this from now on. Once: one engine has the backend.
    pub(super) fn tell_by(&self, tell: impl Fn(News) + Send + Sync + 'static) {
        drop(self.tell.set(Box::new(tell)));
    }

    /// Whether anybody waits for news, this says. Once.
    pub(super) fn awaited_if(&self, are_awaited: impl Fn() -> bool + Send + Sync + 'static) {
        drop(self.are_awaited.set(Box::new(are_awaited)));
    }

    pub(super) fn tell(&self, news: News) {
        match self.tell.get() {
            Some(tell) => tell(news),
            None => drop(self.kept.send(news)),
        }
    }

    /// Perhaps, where nobody can say.
    pub(super) fn are_awaited(&self) -> bool {
        self.are_awaited.get().is_none_or(|are_awaited| are_awaited())
    }
}

/// So much is read at once.
const ROOM: usize = 16 * 1024;

/// The reading half of a connection.
pub(super) struct Inbox {
    reader: Pin<Box<dyn AsyncRead + Send>>,
    /// What came and is not understood yet.
    unread: BytesMut,
    decoder: Decoder,
    channel: Arc<str>,
    /// Without RESP3, messages and what confirms a subscription come as lists.
    /// Such a connection asks for nothing else that is answered by one.
    hears_lists: bool,
    /// A read that does not fill its room has taken all there was. Not so where it
    /// comes through buffers of others.
    is_plain: bool,
}

/// What came with one look.
#[derive(Default)]
pub(super) struct Come {
    pub(super) heard: Vec<Heard>,
    pub(super) news: Vec<News>,
    /// Why nothing more will come.
    pub(super) end: Option<String>,
}

impl Inbox {
    pub(super) fn of(
        reader: impl AsyncRead + Send + 'static,
        channel: Arc<str>,
        hears_lists: bool,
        is_plain: bool,
    ) -> Self {
        let (unread, decoder) = (BytesMut::with_capacity(ROOM), Decoder::default());
        Self { reader: Box::pin(reader), unread, decoder, channel, hears_lists, is_plain }
    }

    /// Take in all that is there. Nobody is woken for what is not.
    pub(super) fn read(&mut self) -> Come {
        let (mut come, mut now) = (Come::default(), Context::from_waker(Waker::noop()));
        while come.end.is_none() {
            self.unread.reserve(ROOM);
            let room = self.unread.capacity() - self.unread.len();
            let read = poll_read_buf(self.reader.as_mut(), &mut now, &mut self.unread);
            match read {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => {
                    come.end = Some("the server closed the connection".to_owned())
                }
                Poll::Ready(Ok(length)) => {
                    self.understand(&mut come);
                    if self.is_plain && length < room {
                        break;
                    }
                }
                Poll::Ready(Err(e)) => come.end = Some(format!("the connection broke: {e}")),
            }
        }
        come
    }

    /// What came before something that ends the connection is an answer all the same.
    fn understand(&mut self, come: &mut Come) {
        while come.end.is_none() {
            let sorted = match self.decoder.next(&mut self.unread) {
                Ok(Some(frame)) => self.sort(frame, come),
                Ok(None) => return,
                Err(e) => Err(format!("the server sent what is not its protocol: {e}")),
            };
            come.end = sorted.err();
        }
    }

    /// Any user of the server can have it push things to our connection, by
    /// `CLIENT TRACKING ON REDIRECT`. Those are no answers and no news, and they
    /// must not end the connection either.
    fn sort(&self, frame: Frame, come: &mut Come) -> Result<(), String> {
        let words = match frame {
            Frame::Push(words) => words,
            Frame::Answer(Value::Array(words)) if self.hears_lists => words,
            Frame::Answer(value) => {
                come.heard.push(Heard::Answer(value));
                return Ok(());
            }
            Frame::Refusal(said) => {
                come.heard.push(Heard::Refusal(said));
                return Ok(());
            }
            Frame::Foreign => return Ok(()),
        };
        let is = |word: &Value, text: &str| matches!(word, Value::BulkString(bytes) if bytes == text.as_bytes());
        match &words[..] {
            [what, channel, Value::BulkString(payload)] if is(what, "message") => {
                if is(channel, &self.channel) {
                    come.news.push(News::Message(payload.clone()));
                }
                Ok(())
            }
            [what, channel, _] if is(what, "subscribe") && is(channel, &self.channel) => {
                come.heard.push(Heard::Subscribed);
                Ok(())
            }
            [what, channel, _] if is(what, "unsubscribe") && is(channel, &self.channel) => {
                Err("the server has ended our subscription".to_owned())
            }
            // Of another channel, or of what is stored in a key.
            [what, ..] if is(what, "message") || is(what, "unsubscribe") => Ok(()),
            _ => Err("the server sent what we did not ask for".to_owned()),
        }
    }
}
