//! What comes from a server, sorted by kind: answers, and what it says unasked.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::redis::Value;
use bytes::BytesMut;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio_util::io::poll_read_buf;

use super::resp::{Decoder, Frame};

/// What is heard unasked.
pub(super) enum News {
    /// The payload of a message on our channel.
    Message(Vec<u8>),
    /// The connection is a new one: messages may have been missed.
    Reconnected,
}

/// What may be the answer to a request.
pub(super) enum Heard {
    Answer(Value),
    Refusal(String),
    /// Our channel is subscribed.
    Subscribed,
}

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
    news: mpsc::UnboundedSender<News>,
}

impl Inbox {
    pub(super) fn of(
        reader: impl AsyncRead + Send + 'static,
        channel: Arc<str>,
        hears_lists: bool,
        news: mpsc::UnboundedSender<News>,
    ) -> Self {
        let (unread, decoder) = (BytesMut::with_capacity(16 * 1024), Decoder::default());
        Self { reader: Box::pin(reader), unread, decoder, channel, hears_lists, news }
    }

    /// What has come next, and whether more will: if not, why.
    pub(super) fn poll_heard(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<(Vec<Heard>, Result<(), String>)> {
        let nothing = |why: String| Poll::Ready((Vec::new(), Err(why)));
        match ready!(poll_read_buf(self.reader.as_mut(), cx, &mut self.unread)) {
            Ok(0) => nothing("the server closed the connection".to_owned()),
            Ok(_) => Poll::Ready(self.understand()),
            Err(e) => nothing(format!("the connection broke: {e}")),
        }
    }

    /// What came before something that ends the connection is an answer all the same.
    fn understand(&mut self) -> (Vec<Heard>, Result<(), String>) {
        let mut heard = Vec::new();
        loop {
            let next = match self.decoder.next(&mut self.unread) {
                Ok(Some(frame)) => self.sort(frame),
                Ok(None) => return (heard, Ok(())),
                Err(e) => Err(format!("the server sent what is not its protocol: {e}")),
            };
            match next {
                Ok(next) => heard.extend(next),
                Err(why) => return (heard, Err(why)),
            }
        }
    }

    /// Any user of the server can have it push things to our connection, by
    /// `CLIENT TRACKING ON REDIRECT`. Those are no answers and no news, and they
    /// must not end the connection either.
    fn sort(&self, frame: Frame) -> Result<Option<Heard>, String> {
        let words = match frame {
            Frame::Push(words) => words,
            Frame::Answer(Value::Array(words)) if self.hears_lists => words,
            Frame::Answer(value) => return Ok(Some(Heard::Answer(value))),
            Frame::Refusal(said) => return Ok(Some(Heard::Refusal(said))),
            Frame::Foreign => return Ok(None),
        };
        let is = |word: &Value, text: &str| matches!(word, Value::BulkString(bytes) if bytes == text.as_bytes());
        match &words[..] {
            [what, channel, Value::BulkString(payload)] if is(what, "message") => {
                if is(channel, &self.channel) {
                    drop(self.news.send(News::Message(payload.clone())));
                }
                Ok(None)
            }
            [what, channel, _] if is(what, "subscribe") && is(channel, &self.channel) => {
                Ok(Some(Heard::Subscribed))
            }
            [what, channel, _] if is(what, "unsubscribe") && is(channel, &self.channel) => {
                Err("the server has ended our subscription".to_owned())
            }
            // Of another channel, or of what is stored in a key.
            [what, ..] if is(what, "message") || is(what, "unsubscribe") => Ok(None),
            _ => Err("the server sent what we did not ask for".to_owned()),
        }
    }
}
