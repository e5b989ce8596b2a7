//! A server that speaks the protocol of Redis and cannot be trusted.
//!
//! It answers what it likes: every kind of value, push and attribute, at any moment,
//! whole or torn; answers that are doubled, lost, or another request's. All of that
//! follows from a seed. It never grants anything: no answer that names its request
//! makes somebody the holder, and no message names an owner who waits.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fastrand::Rng;

use crate::patience::pause;
use crate::resp::parse_command;

mod lies;

/// It stops to listen when it is dropped.
pub struct Liar {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    seed: u64,
    closed: AtomicBool,
    connections: AtomicU64,
    claims: AtomicU64,
    lies: AtomicU64,
}

impl Liar {
    /// On a free port of this machine.
    pub fn of(seed: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        let shared = Arc::new(Shared { seed, ..Shared::default() });
        let acceptor = std::thread::spawn({
            let shared = shared.clone();
            move || {
                for client in listener.incoming() {
                    if shared.closed.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(client) = client else { continue };
                    let number = shared.connections.fetch_add(1, Ordering::SeqCst);
                    let shared = shared.clone();
                    std::thread::spawn(move || Session::new(&shared, number).serve(&client));
                }
            }
        });
        Self { port, shared, acceptor: Some(acceptor) }
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// How many connections there were, how many claims came over them, and how
    /// many answers were not what they should be.
    pub fn seen(&self) -> [u64; 3] {
        let Shared { connections, claims, lies, .. } = &*self.shared;
        [connections, claims, lies].map(|count| count.load(Ordering::SeqCst))
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        // It is woken by a last connection.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
    }
}

/// One connection.
struct Session<'a> {
    shared: &'a Shared,
    rng: Rng,
    has_resp3: bool,
    /// Of a hundred answers, how many are as they should be.
    honest: u8,
    channel: Vec<u8>,
    /// The answers so far, to be given again.
    given: Vec<Vec<u8>>,
    /// The numbers of requests that were answered, to be answered by a grant.
    numbers: Vec<Vec<u8>>,
}

type Command = [Vec<u8>];

impl<'a> Session<'a> {
    fn new(shared: &'a Shared, number: u64) -> Self {
        let mut rng = Rng::with_seed(shared.seed.wrapping_mul(1_000_003).wrapping_add(number));
        let has_resp3 = rng.u8(..4) > 0;
        let honest = [40, 70, 90, 98][rng.usize(..4)];
        let (channel, given, numbers) = (Vec::new(), Vec::new(), Vec::new());
        Self { shared, rng, has_resp3, honest, channel, given, numbers }
    }

    /// Until it or the other side has had enough.
    fn serve(mut self, mut client: &TcpStream) {
        drop(client.set_nodelay(true));
        drop(client.set_read_timeout(Some(Duration::from_secs(1))));
        let (mut received, mut some) = (Vec::new(), [0; 16 * 1024]);
        'open: loop {
            while let Ok(Some((command, length))) = parse_command(&received) {
                received.drain(..length);
                let mut out = Vec::new();
                self.noise(&mut out);
                let goes_on = self.answer(&command, &mut out);
                self.noise(&mut out);
                if !self.write(client, &out) || !goes_on {
                    break 'open;
                }
            }
            match client.read(&mut some) {
                Ok(length) if length > 0 => received.extend_from_slice(&some[..length]),
                _ => break,
            }
        }
        drop(client.shutdown(Shutdown::Both));
    }

    /// In one piece or several.
    fn write(&mut self, mut client: &TcpStream, out: &[u8]) -> bool {
        let cut = match self.rng.u8(..8) {
            0 if !out.is_empty() => self.rng.usize(..out.len()),
            _ => 0,
        };
        let (first, rest) = out.split_at(cut);
        let written = client.write_all(first);
        if cut > 0 && self.rng.u8(..4) == 0 {
            pause(Duration::from_millis(1));
        }
        written.and_then(|()| client.write_all(rest)).is_ok()
    }

    /// Answers whether the connection goes on.
    fn answer(&mut self, command: &Command, out: &mut Vec<u8>) -> bool {
        let proper = self.proper(command);
        let number = command.last().cloned().unwrap_or_default();
        // Most get as far as to be asked for locks.
        let is_script = command[0].starts_with(b"EVAL");
        let lies = self.rng.u8(..100) >= self.honest && (is_script || self.rng.u8(..4) == 0);
        if !lies {
            out.extend_from_slice(&proper);
            self.given.push(proper);
            if is_script {
                self.numbers.push(number);
            }
            return true;
        }
        self.shared.lies.fetch_add(1, Ordering::SeqCst);
        // So short that the rest of its number is missing.
        let torn = self.rng.usize(..proper.len().min(10));
        match self.rng.u8(..14) {
            0 => {} // it is lost
            1 => out.extend_from_slice(&proper.repeat(2)),
            2 => {
                let again = self.rng.usize(..self.given.len().max(1));
                out.extend(self.given.get(again).into_iter().flatten());
            }
            3 => {
                // Torn, and then something else.
                out.extend_from_slice(&proper[..torn]);
                self.value(0, out);
            }
            4 => {
                out.extend_from_slice(&proper[..torn]);
                return false;
            }
            5 => self.grant_of_nobody(out),
            6 => self.grant_of_another(&number, out),
            7 => self.nearly_a_grant(&number, out),
            8 => self.refusal(out),
            9 => self.garbage(out),
            10 => {
                // Two in the wrong order: the one before once more, then this.
                self.grant_of_nobody(out);
                out.extend_from_slice(&proper);
            }
            11 => return false,
            _ => self.value(0, out),
        }
        true
    }

    fn proper(&mut self, command: &Command) -> Vec<u8> {
        let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
        match &words[..] {
            [b"HELLO", ..] if self.has_resp3 => {
                b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n".to_vec()
            }
            [b"HELLO", ..] => b"-ERR unknown command 'HELLO'\r\n".to_vec(),
            [b"SUBSCRIBE", channel] => {
                self.channel = channel.to_vec();
                let kind = if self.has_resp3 { '>' } else { '*' };
                let mut out = format!("{kind}3\r\n$9\r\nsubscribe\r\n").into_bytes();
                bulk(channel, &mut out);
                out.extend_from_slice(b":1\r\n");
                out
            }
            [b"INFO", ..] => {
                let mut out = Vec::new();
                bulk(b"# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n", &mut out);
                out
            }
            [b"SCAN", ..] => b"*2\r\n$1\r\n0\r\n*0\r\n".to_vec(),
            [b"EVAL" | b"EVALSHA", _, count, rest @ .., number] => {
                let count = std::str::from_utf8(count).ok().and_then(|count| count.parse().ok());
                let (keys, arguments) = rest.split_at(count.unwrap_or(0).min(rest.len()));
                let mut out = b"*2\r\n".to_vec();
                bulk(number, &mut out);
                out.extend_from_slice(match (keys.len(), arguments.len()) {
                    // It is busy.
                    (4, 6) if arguments[2].starts_with(b"leasehold:") => {
                        self.shared.claims.fetch_add(1, Ordering::SeqCst);
                        b"*4\r\n:0\r\n:30\r\n:1\r\n:5\r\n"
                    }
                    (4, 6) => b"*3\r\n:0\r\n:0\r\n:0\r\n",
                    (4, 0) => b"*6\r\n$-1\r\n:-2\r\n$-1\r\n$-1\r\n$-1\r\n$3\r\n1 2\r\n",
                    (4, 3) => b":1\r\n",
                    _ => b"$1\r\n0\r\n",
                });
                out
            }
            _ => b"+OK\r\n".to_vec(),
        }
    }
}

fn bulk(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}
