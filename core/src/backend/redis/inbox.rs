//! What comes from a server: answers, and what it says unasked.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::redis::{PushKind, Value, ValueCodec};
use bytes::BytesMut;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio_util::codec::Decoder;
use tokio_util::io::poll_read_buf;

use super::link::Link;

/// What is heard unasked.
pub(super) enum News {
    /// The payload of a message on our channel.
    Message(Vec<u8>),
    /// The connection is a new one: messages may have been missed.
    Reconnected,
}

/// The reading half of a connection.
pub(super) struct Inbox {
    reader: Pin<Box<dyn AsyncRead + Send>>,
    /// What came and is not understood yet.
    unread: BytesMut,
    codec: ValueCodec,
    news: mpsc::UnboundedSender<News>,
}

impl Inbox {
    pub(super) fn of(
        reader: impl AsyncRead + Send + 'static,
        news: mpsc::UnboundedSender<News>,
    ) -> Self {
        let (unread, codec) = (BytesMut::with_capacity(16 * 1024), ValueCodec::default());
        Self { reader: Box::pin(reader), unread, codec, news }
    }

    /// Ready when nothing more will come, with the reason.
    pub(super) fn poll_read(&mut self, link: &Link, cx: &mut Context<'_>) -> Poll<String> {
        loop {
            match ready!(poll_read_buf(self.reader.as_mut(), cx, &mut self.unread)) {
                Ok(0) => return Poll::Ready("the server closed the connection".to_owned()),
                Ok(_) => {}
                Err(e) => return Poll::Ready(format!("the connection broke: {e}")),
            }
            if let Err(why) = self.understand(link) {
                return Poll::Ready(why);
            }
        }
    }

    fn understand(&mut self, link: &Link) -> Result<(), String> {
        let mut answers = Vec::new();
        loop {
            match self.codec.decode(&mut self.unread) {
                Ok(Some(Value::Push { kind: PushKind::Message, data })) => self.publish(data),
                Ok(Some(answer)) => answers.push(answer),
                Ok(None) => break,
                Err(e) => return Err(format!("the server sent what is not its protocol: {e}")),
            }
        }
        for unasked in link.deliver(answers.into_iter()) {
            // Without RESP3 a message looks like an answer that nobody waits for.
            if let Value::Array(mut message) = unasked {
                self.publish(message.split_off(1.min(message.len())));
            }
        }
        Ok(())
    }

    /// `message` is the channel and the payload.
    fn publish(&self, mut message: Vec<Value>) {
        if let Some(Value::BulkString(payload)) = message.pop() {
            drop(self.news.send(News::Message(payload)));
        }
    }
}
