//! What stands between a client and a real member, and changes what it answers.
//!
//! It knows the frames of HTTP/2 and the messages of gRPC in them, and leaves the
//! headers as they are: what it sends is well-formed more often than not.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use fastrand::Rng;

use super::protobuf::{self, Seen};

/// In front of one member; its threads end with their connections.
pub(crate) struct Liar {
    pub(crate) port: u16,
    pub(crate) counts: Arc<Counts>,
    shared: Arc<Shared>,
}

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) connections: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) lies: AtomicU64,
}

struct Shared {
    member: u16,
    /// In how many of a thousand messages.
    rate: AtomicU32,
    over: AtomicBool,
    seen: Mutex<Seen>,
    /// Messages that were sent before, to whom it may concern.
    before: Mutex<Vec<Vec<u8>>>,
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

const DATA: u8 = 0;
const MOST_BEFORE: usize = 64;

impl Liar {
    pub(crate) fn before(member: u16, seed: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            member,
            rate: AtomicU32::new(0),
            over: AtomicBool::new(false),
            seen: Mutex::default(),
            before: Mutex::default(),
        });
        let counts = Arc::<Counts>::default();
        let (for_all, counted) = (shared.clone(), counts.clone());
        thread::spawn(move || {
            let mut random = Rng::with_seed(seed);
            for client in listener.incoming() {
                if for_all.over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(client) = client else { continue };
                counted.connections.fetch_add(1, Ordering::SeqCst);
                let (shared, counts, random) = (for_all.clone(), counted.clone(), random.fork());
                thread::spawn(move || drop(carry(client, &shared, counts, random)));
            }
        });
        Self { port, counts, shared }
    }

    /// In how many of a thousand messages it lies from here on.
    pub(crate) fn lie(&self, rate: u32) {
        self.shared.rate.store(rate, Ordering::SeqCst);
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

fn carry(
    client: TcpStream,
    shared: &Arc<Shared>,
    counts: Arc<Counts>,
    random: Rng,
) -> io::Result<()> {
    let member = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.member))?;
    client.set_nodelay(true)?;
    member.set_nodelay(true)?;
    let (mut from, mut to) = (client.try_clone()?, member.try_clone()?);
    let up = thread::spawn(move || {
        drop(io::copy(&mut from, &mut to));
        drop(to.shutdown(Shutdown::Both));
    });
    let mut down = Down { member, client, shared: shared.clone(), counts, random, held: None };
    drop(down.run());
    drop(down.client.shutdown(Shutdown::Both));
    drop(down.member.shutdown(Shutdown::Both));
    drop(up.join());
    Ok(())
}

/// The way from the member to the client.
struct Down {
    member: TcpStream,
    client: TcpStream,
    shared: Arc<Shared>,
    counts: Arc<Counts>,
    random: Rng,
    /// Is sent after the next.
    held: Option<Frame>,
}

impl Down {
    fn run(&mut self) -> io::Result<()> {
        let mut last = 1;
        loop {
            let frame = self.read()?;
            let lies = self.random.u32(..1000) < self.shared.rate.load(Ordering::SeqCst);
            let held = self.held.take();
            if frame.kind != DATA || frame.payload.len() < 5 {
                self.send(&frame)?;
            } else {
                self.remember(&frame);
                let other = std::mem::replace(&mut last, frame.stream);
                match lies {
                    true => self.lie(frame, other)?,
                    false => self.send(&frame)?,
                }
            }
            if let Some(held) = held {
                self.send(&held)?;
            }
        }
    }

    fn lie(&mut self, frame: Frame, other: u32) -> io::Result<()> {
        self.counts.lies.fetch_add(1, Ordering::SeqCst);
        let message = frame.payload[5..].to_vec();
        let with = |message: &[u8]| {
            let mut payload = vec![0];
            payload.extend((message.len() as u32).to_be_bytes());
            payload.extend(message);
            Frame { payload, ..frame }
        };
        match self.random.u32(..24) {
            // The message of another question.
            0..4 => {
                let before = self.shared.before.lock().unwrap();
                let message = self.random.choice(&*before).cloned().unwrap_or_default();
                drop(before);
                self.send(&with(&message))
            }
            // Cut off, by its own account or not.
            4 => {
                let kept = self.random.usize(..=message.len());
                self.send(&with(&message[..kept]))
            }
            5 => {
                let mut payload = frame.payload.clone();
                payload.truncate(self.random.usize(..payload.len()));
                self.send(&Frame { payload, ..frame })
            }
            // As long as may be.
            6 => {
                let mut payload = frame.payload.clone();
                payload[1..5].copy_from_slice(&self.random.u32(1 << 20..).to_be_bytes());
                self.send(&Frame { payload, ..frame })
            }
            // In another stream, twice, later.
            7 => self.send(&Frame { stream: other, ..frame }),
            8 => {
                self.send(&frame)?;
                self.send(&frame)
            }
            9 => {
                self.held = Some(frame);
                Ok(())
            }
            // Any frame of the protocol, or none.
            10 => {
                let payload = (0..self.random.usize(..40)).map(|_| self.random.u8(..)).collect();
                let stream = [0, frame.stream, other, self.random.u32(..1 << 31)];
                let stream = stream[self.random.usize(..4)];
                let (kind, flags) = (self.random.u8(..12), self.random.u8(..));
                self.send(&Frame { kind, flags, stream, payload })?;
                self.send(&frame)
            }
            11 => {
                let noise: Vec<u8> = (0..200).map(|_| self.random.u8(..)).collect();
                self.client.write_all(&noise)
            }
            _ => {
                let seen = self.shared.seen.lock().unwrap();
                let changed = protobuf::change(&message, &seen, &mut self.random);
                drop(seen);
                self.send(&with(&changed.unwrap_or(message)))
            }
        }
    }

    fn remember(&mut self, frame: &Frame) {
        let message = &frame.payload[5..];
        self.shared.seen.lock().unwrap().look(message, &mut self.random);
        let mut before = self.shared.before.lock().unwrap();
        match before.len() < MOST_BEFORE {
            true => before.push(message.to_vec()),
            false => before[self.random.usize(..MOST_BEFORE)] = message.to_vec(),
        }
    }

    fn read(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.member.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.member.read_exact(&mut payload)?;
        self.counts.bytes.fetch_add(9 + u64::from(length), Ordering::SeqCst);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Ok(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    fn send(&mut self, frame: &Frame) -> io::Result<()> {
        let mut bytes = (frame.payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([frame.kind, frame.flags]);
        bytes.extend(frame.stream.to_be_bytes());
        bytes.extend(&frame.payload);
        self.client.write_all(&bytes)
    }
}
