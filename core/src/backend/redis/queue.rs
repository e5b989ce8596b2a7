//! The requests that are under way on one connection, in order. No answer is
//! believed for its place alone: see [`Expected`].

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ::redis::Value;
use bytes::{Buf, BytesMut};
use tokio::io::AsyncWrite;
use tokio::sync::oneshot;

use super::command::{Command, Number};
use super::failure::Failure;
use super::inbox::Heard;
use super::scripts::Script;
use crate::time::Instant;

pub(super) struct Queue {
    writer: Pin<Box<dyn AsyncWrite + Send>>,
    /// What could not be written at once.
    pub(super) unwritten: BytesMut,
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) answered: u64,
    /// Since when nothing has come that is waited for.
    pub(super) silent_since: Option<Instant>,
    pub(super) watched: bool,
    /// Why it has ended.
    pub(super) broken: Option<Arc<str>>,
}

/// A request without its answer.
pub(super) struct Waiting {
    pub(super) tell: oneshot::Sender<Result<Value, Failure>>,
    pub(super) command: Command,
    pub(super) expected: Expected,
    /// What to do if the server does not know the script.
    pub(super) repeat: Option<Repeat>,
}

/// How an answer shows whose it is.
pub(super) enum Expected {
    /// Of a script: it begins with the number of the request.
    Number(Number),
    /// Of a plain command; who sent it looks at what it is.
    Word,
    /// Not an answer at all, but what confirms it.
    Subscription,
}

/// How to ask again by the whole script.
pub(super) struct Repeat {
    pub(super) script: &'static Script,
    /// Also when nobody waits for the answer.
    pub(super) is_owed: bool,
}

impl Expected {
    /// The answer itself, if it is this one's.
    fn check(&self, heard: Heard) -> Result<Result<Value, Failure>, String> {
        match (self, heard) {
            (_, Heard::Refusal(said)) => Ok(Err(Failure::refusal(&said))),
            (Self::Word, Heard::Answer(value)) => Ok(Ok(value)),
            (Self::Subscription, Heard::Subscribed) => Ok(Ok(Value::Okay)),
            (Self::Number(number), Heard::Answer(Value::Array(mut parts))) => {
                match parts.first() {
                    Some(Value::BulkString(named)) if number.is(named) => {}
                    _ => return Err("the server gave the answer to another request".to_owned()),
                }
                Ok(Ok(if parts.len() > 1 { parts.swap_remove(1) } else { Value::Nil }))
            }
            _ => Err("the server gave an answer of another kind".to_owned()),
        }
    }
}

/// An answer, and who waits for it.
pub(super) struct Told {
    pub(super) tell: oneshot::Sender<Result<Value, Failure>>,
    pub(super) answer: Result<Value, Failure>,
}

impl Queue {
    pub(super) fn over(writer: impl AsyncWrite + Send + 'static) -> Self {
        Self {
            writer: Box::pin(writer),
            unwritten: BytesMut::new(),
            waiting: VecDeque::new(),
            answered: 0,
            silent_since: None,
            watched: false,
            broken: None,
        }
    }

    pub(super) fn shut(&mut self, why: &str) {
        self.broken.get_or_insert_with(|| why.into());
        self.waiting.clear();
    }

    /// Whether anybody waits for an answer.
    pub(super) fn is_awaited(&self) -> bool {
        self.waiting.iter().any(|waiting| !waiting.tell.is_closed())
    }

    /// Answers whether it is written, and whether the driver watches for answers.
    pub(super) fn add(&mut self, mut waiting: Waiting, now: Instant) -> (bool, bool) {
        // The caller's thread writes it itself, unless others are under way:
        // those are then written together.
        let alone = self.waiting.is_empty() && self.unwritten.is_empty();
        let packed = waiting.command.packed();
        let is_written = alone && self.write_at_once(packed);
        if !alone {
            self.unwritten.extend_from_slice(packed);
        }
        self.waiting.push_back(waiting);
        self.silent_since.get_or_insert(now);
        (is_written, std::mem::replace(&mut self.watched, true))
    }

    /// Match what was heard with who waits for it, in order. The first that is
    /// not what it should be ends it all.
    pub(super) fn take(&mut self, heard: Vec<Heard>) -> (Vec<Told>, Result<(), String>) {
        let mut told = Vec::with_capacity(heard.len());
        for heard in heard {
            let Some(Waiting { tell, command, expected, repeat }) = self.waiting.pop_front() else {
                // Whoever has ended it has said why.
                if let Some(why) = &self.broken {
                    return (told, Err(why.to_string()));
                }
                return (told, Err("the server answered what nobody has asked".to_owned()));
            };
            let answer = match expected.check(heard) {
                Ok(answer) => answer,
                Err(why) => return (told, Err(why)),
            };
            self.answered += 1;
            let is_unknown = |failure: &Failure| failure.code == "NOSCRIPT";
            match repeat {
                Some(Repeat { script, is_owed })
                    if answer.as_ref().is_err_and(is_unknown) && (is_owed || !tell.is_closed()) =>
                {
                    // Who leaves after this can be sure that it is sent before
                    // whatever is sent then.
                    let mut command = script.whole(&command);
                    self.unwritten.extend_from_slice(command.packed());
                    self.waiting.push_back(Waiting { tell, command, expected, repeat: None });
                }
                _ => told.push(Told { tell, answer }),
            }
        }
        (told, Ok(()))
    }

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

    /// Write what is left, as far as there is room for it. Nobody is woken when there is.
    pub(super) fn flush(&mut self) -> Poll<io::Result<()>> {
        let mut now = Context::from_waker(Waker::noop());
        while !self.unwritten.is_empty() {
            match self.writer.as_mut().poll_write(&mut now, &self.unwritten) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => self.unwritten.advance(written),
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => return Poll::Pending,
            }
        }
        self.writer.as_mut().poll_flush(&mut now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::redis::scripts;

    type Answer = oneshot::Receiver<Result<Value, Failure>>;

    fn ask(queue: &mut Queue, number: &str, is_owed: bool) -> Answer {
        let (tell, answer) = oneshot::channel();
        let mut command = scripts::GIVE_BACK.by_hash();
        ["0", "argument", number].into_iter().for_each(|word| command.add(word));
        let repeat = Some(Repeat { script: &scripts::GIVE_BACK, is_owed });
        let expected = Expected::Number(Number(u64::from_str_radix(number, 16).unwrap()));
        queue.add(Waiting { tell, command, expected, repeat }, Instant::from_nanos(0));
        queue.unwritten.clear();
        answer
    }

    fn answer(number: &str) -> Heard {
        let number = Value::BulkString(number.into());
        Heard::Answer(Value::Array(vec![number, Value::Int(1)]))
    }

    fn unknown() -> Heard {
        Heard::Refusal("NOSCRIPT No matching script.".to_owned())
    }

    #[test]
    fn an_answer_is_taken_only_by_the_request_that_it_names() {
        let mut queue = Queue::over(tokio::io::sink());
        let [mut first, mut second] = ["a", "b"].map(|number| ask(&mut queue, number, false));
        let (told, more) = queue.take(vec![answer("a"), answer("a")]);
        assert!(more.unwrap_err().contains("another request"));
        for Told { tell, answer } in told {
            tell.send(answer).unwrap();
        }
        assert_eq!(first.try_recv().unwrap().unwrap(), Value::Int(1));
        assert!(second.try_recv().is_err());
    }

    #[test]
    fn what_is_no_answer_to_a_script_is_taken_by_none() {
        let grant = || Value::Array(vec![Value::Int(1), Value::Int(7)]);
        let texts = Value::Array(vec![Value::SimpleString("a".to_owned()), grant()]);
        for value in [grant(), Value::Okay, Value::Int(1), Value::Array(vec![]), texts] {
            let mut queue = Queue::over(tokio::io::sink());
            let _answer = ask(&mut queue, "a", false);
            let (told, more) = queue.take(vec![Heard::Answer(value)]);
            assert!(told.is_empty() && more.is_err());
        }
        let mut queue = Queue::over(tokio::io::sink());
        assert!(queue.take(vec![answer("a")]).1.unwrap_err().contains("nobody has asked"));
    }

    #[test]
    fn what_is_owed_is_sent_again_though_nobody_waits_and_nothing_else_is() {
        for (is_owed, waits, again) in
            [(true, false, true), (false, true, true), (true, true, true), (false, false, false)]
        {
            let mut queue = Queue::over(tokio::io::sink());
            let mut receiver = Some(ask(&mut queue, "a", is_owed));
            if !waits {
                receiver = None;
            }
            let (told, more) = queue.take(vec![unknown()]);
            assert_eq!((told.is_empty(), more), (again, Ok(())));
            let sent = String::from_utf8_lossy(&queue.unwritten).into_owned();
            assert_eq!(sent.contains("EVAL\r\n"), again, "{sent}");
            assert!(!again || sent.ends_with("$1\r\na\r\n"), "under the same number: {sent}");
            assert_eq!(queue.waiting.len(), usize::from(again));
            // Not for ever.
            let (told, _) = queue.take(vec![unknown()]);
            assert_eq!((told.len(), queue.waiting.len()), (usize::from(again), 0));
            drop(receiver);
        }
    }
}
