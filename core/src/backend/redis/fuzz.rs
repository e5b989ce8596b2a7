//! Whatever bytes come from a server: no panic, no hang, and no answer to a
//! request that it does not name.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::UnixStream;

use super::command::Command;
use super::inbox::{Ears, Inbox};
use super::link::Link;
use super::queue::Expected;
use super::resp::Decoder;
use super::socket::Socket;
use crate::runtime::{Runtime, ThreadRuntime};

/// In an ordinary run of the tests; with `LEASEHOLD_FUZZ=100000000` it is as many
/// as that.
const BYTES: usize = 2_000_000;

/// A generator of numbers, small and the same everywhere.
pub(super) struct Seed(pub(super) u64);

impl Seed {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(32) % limit
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }

    /// A value of any kind, as a server would send it.
    fn value(&mut self, depth: u8, out: &mut Vec<u8>) {
        let kinds = if depth < 20 { 20 } else { 12 };
        match self.below(kinds) {
            kind @ 12.. => {
                let sign = b"**%~>>|*"[kind as usize - 12];
                let length = self.below(5);
                out.extend_from_slice(format!("{}{length}\r\n", char::from(sign)).as_bytes());
                if sign == b'>' {
                    self.word(out);
                }
                for _ in 0..if matches!(sign, b'%' | b'|') { 2 * length } else { length } {
                    let deeper = 1 + 3 * self.below(2) as u8;
                    self.value(depth + deeper, out);
                }
            }
            0..3 => self.word(out),
            _ => out.extend_from_slice(
                self.one(&[
                    "+OK\r\n",
                    ":1\r\n",
                    ":-5\r\n",
                    "$-1\r\n",
                    "*-1\r\n",
                    "_\r\n",
                    "#t\r\n",
                    ",1e9\r\n",
                    "(99999999999999999999\r\n",
                    "-ERR no\r\n",
                    "!5\r\nERR x\r\n",
                    "=5\r\ntxt:a\r\n",
                    "*2\r\n:1\r\n:77\r\n",
                    "*2\r\n$1\r\n7\r\n*2\r\n:1\r\n:77\r\n",
                    "-NOSCRIPT no\r\n",
                    "$0\r\n\r\n",
                ])
                .as_bytes(),
            ),
        }
    }

    fn word(&mut self, out: &mut Vec<u8>) {
        let words =
            ["message", "subscribe", "unsubscribe", "invalidate", "channel", "gone x", "", "7"];
        let word = self.one(&words);
        out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }

    /// A stream of them, whole or with some faults.
    fn stream(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..=self.below(12) {
            self.value(0, &mut out);
        }
        for _ in 0..self.below(4) {
            let at = self.below(out.len() as u64) as usize;
            match self.below(6) {
                0 => out.truncate(at.max(1)),
                1 => drop(out.remove(at)),
                2 => out[at] ^= 1 << self.below(8),
                3 => out.insert(at, self.below(256) as u8),
                4 => {
                    let length =
                        self.one(&["*2147483647\r\n", "$999999999999\r\n", "$-3\r\n", "%-1\r\n"]);
                    out.splice(at..at, length.bytes());
                }
                _ => out[at] = b"\r\n$*>%0-"[self.below(8) as usize],
            }
            if out.is_empty() {
                out.push(b'x');
            }
        }
        out
    }
}

/// How much of it is looked at before something ends it.
fn looked_at(seed: &mut Seed, stream: &[u8]) -> usize {
    let (mut decoder, mut unread, mut read) = (Decoder::default(), BytesMut::new(), 0);
    while read < stream.len() {
        let piece = (1 + seed.below(64) as usize).min(stream.len() - read);
        unread.extend_from_slice(&stream[read..read + piece]);
        read += piece;
        loop {
            match decoder.next(&mut unread) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return read - unread.len(),
            }
        }
    }
    read
}

#[tokio::test]
async fn whatever_comes_nothing_panics_and_no_request_takes_what_does_not_name_it() {
    #[allow(clippy::disallowed_methods)] // it is a test
    let whole = std::env::var("LEASEHOLD_FUZZ").ok();
    let whole: usize = whole.map_or(BYTES, |bytes| bytes.parse().unwrap());
    let runtime: Arc<dyn Runtime> = ThreadRuntime::start().unwrap();
    let (mut seed, mut read, mut sessions, mut refused) = (Seed(14), 0, 0, 0);
    while read < whole {
        let stream = seed.stream();
        read += looked_at(&mut seed, &stream);
        let (ears, _news) = Ears::new();
        let hears_lists = seed.below(4) == 0;
        // That it is closed lets it be read.
        let (socket, _) = UnixStream::pair().unwrap();
        let socket = Socket::unix(socket).unwrap();
        let inbox = Inbox::of(Cursor::new(stream), "channel".into(), hears_lists, false);
        let times = (runtime.clone() as Arc<dyn Runtime>, Duration::from_secs(60));
        let link = Link::over(1, times, (inbox, ears), tokio::io::sink(), socket);
        let ask = |_| {
            let number = link.next_number();
            link.send(Command::of(&[]), Expected::Number(number), None).unwrap()
        };
        let answers: Vec<_> = (0..seed.below(4)).map(ask).collect();
        link.drive(&*runtime).await;
        for answer in answers {
            let failure = answer.wait(&link).await.expect_err("it does not name it");
            refused += u64::from(!failure.code.is_empty());
        }
        sessions += 1;
    }
    println!("{read} bytes in {sessions} connections, {refused} requests refused");
    assert!(refused > 0);
}
