//! Whatever bytes come from a server: no panic, no hang, and no answer to a request that it
//! is not an answer to.

use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::link::{Link, answer};
use super::proof::Proof;
use super::words::{Access, Ask, Session, is_let_in};
use crate::runtime::{Runtime, ThreadRuntime};

/// In an ordinary run of the tests; with `LEASEHOLD_FUZZ=100000000` it is as many as that.
const BYTES: usize = 2_000_000;

/// A generator of numbers, small and the same everywhere.
struct Seed(u64);

impl Seed {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(32) % limit
    }

    fn text(&mut self, out: &mut Vec<u8>) {
        let texts = ["/x/_c_-lock-0000000007", "/x", "/", "", "lock-0000000001", "é", "/x-1"];
        let text = texts[self.below(texts.len() as u64) as usize];
        out.extend_from_slice(&(text.len() as i32).to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    }

    /// An answer or an event as a server would send it, to this number or none.
    fn message(&mut self, xid: i32, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        let xid = [xid, xid, xid, xid + 1, -1, -2, -4][self.below(7) as usize];
        body.extend_from_slice(&xid.to_be_bytes());
        body.extend_from_slice(&(self.below(100) as i64).to_be_bytes());
        let code = [0, 0, 0, 0, -101, -110, -112, -118, 7][self.below(9) as usize];
        body.extend_from_slice(&i32::to_be_bytes(code));
        match self.below(7) {
            0 => {}
            1 => self.text(&mut body),
            2 => body.extend_from_slice(&[0; 68]),
            3 => {
                self.text(&mut body);
                body.extend_from_slice(&[0; 68]);
            }
            4 => {
                let count = self.below(4);
                body.extend_from_slice(&(count as i32).to_be_bytes());
                (0..count).for_each(|_| self.text(&mut body));
            }
            5 => {
                body.extend_from_slice(&(self.below(6) as i32).to_be_bytes());
                body.extend_from_slice(&3_i32.to_be_bytes());
                self.text(&mut body);
            }
            _ => {
                for _ in 0..self.below(90) {
                    body.push(self.below(256) as u8);
                }
            }
        }
        out.extend_from_slice(&(body.len() as u32).to_be_bytes());
        out.extend_from_slice(&body);
    }

    /// A stream of them, whole or with some faults.
    fn stream(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        for xid in 0..=self.below(8) as i32 {
            self.message(xid, &mut out);
        }
        for _ in 0..self.below(3) {
            let at = self.below(out.len() as u64) as usize;
            match self.below(5) {
                0 => out.truncate(at.max(1)),
                1 => drop(out.remove(at)),
                2 => out[at] ^= 1 << self.below(8),
                3 => out.insert(at, self.below(256) as u8),
                _ => {
                    out.splice(at..at, i32::to_be_bytes([i32::MAX, -1][self.below(2) as usize]));
                }
            }
            if out.is_empty() {
                out.push(0);
            }
        }
        out
    }

    fn ask(&mut self) -> Ask {
        let path = || "/x".to_owned();
        match self.below(9) {
            0 => Ask::CreateInLine { path: "/x/_c_-lock-".to_owned(), data: Vec::new() },
            1 => Ask::CreateStaying { path: path(), in_use: true },
            2 => Ask::Delete { path: path() },
            3 => Ask::Exists { path: path(), watch: true },
            4 => Ask::Data { path: path(), watch: false },
            5 => Ask::SetData { path: path(), data: vec![1, 2] },
            6 => Ask::Children { path: path() },
            7 => Ask::Sync { path: path() },
            _ => Ask::Close,
        }
    }
}

#[tokio::test]
async fn whatever_comes_nothing_panics_or_hangs_and_each_request_has_one_end() {
    #[allow(clippy::disallowed_methods)] // it is a test
    let whole = std::env::var("LEASEHOLD_FUZZ").ok();
    let whole: usize = whole.map_or(BYTES, |bytes| bytes.parse().unwrap());
    let runtime: Arc<dyn Runtime> = ThreadRuntime::start().unwrap();
    let (mut seed, mut read, mut sessions) = (Seed(14), 0, 0);
    let (mut answered, mut refused) = (0, 0);
    let events = Arc::new(AtomicUsize::new(0));
    while read < whole {
        let stream = seed.stream();
        read += stream.len();
        drop(Session::answer(&stream));
        let _ = is_let_in(&stream);
        let heard = events.clone();
        let link = Link::new(
            (1, 7),
            (Arc::new(Proof::new(Duration::from_secs(1))), Duration::from_secs(4)),
            Access::Everybody,
            Arc::default(),
            Box::new(move |_, _| {
                heard.fetch_add(1, Ordering::Relaxed);
            }),
        );
        let asks: Vec<_> = (0..seed.below(8)).map(|_| seed.ask()).collect();
        let (tells, answers): (Vec<_>, Vec<_>) = asks.iter().map(|_| answer()).unzip();
        link.send_all(asks.iter().cloned().zip(tells));
        // What is asked was written before anything comes.
        let long = Duration::from_secs(60);
        let (mut sink, halves) = tokio::io::duplex(1 << 16);
        let (from, into) = tokio::io::split(halves);
        drop(from);
        let driven = link.drive((Late(Cursor::new(stream), false), into), &*runtime, long, long);
        assert!(!driven.await.is_empty());
        drop(tokio::io::AsyncWriteExt::shutdown(&mut sink).await);
        for answer in answers {
            match answer.await_it().await {
                Ok(_) => answered += 1,
                Err(_) => refused += 1,
            }
        }
        sessions += 1;
    }
    let events = events.load(Ordering::Relaxed);
    println!(
        "{read} bytes, {sessions} connections, {answered} answers, {refused}, {events} events"
    );
    assert!(answered > 0 && refused > 0 && events > 0);
}

/// Bytes that are there when something else has had its turn.
struct Late(Cursor<Vec<u8>>, bool);

impl tokio::io::AsyncRead for Late {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        if !std::mem::replace(&mut self.1, true) {
            cx.waker().wake_by_ref();
            return std::task::Poll::Pending;
        }
        std::pin::Pin::new(&mut self.0).poll_read(cx, into)
    }
}
