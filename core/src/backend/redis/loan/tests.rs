//! A link that is lent and taken back at any moment, and a server that reads and answers
//! late and in pieces.
#![allow(clippy::disallowed_methods)] // real threads and sockets, at random moments

use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use ::redis::Value;
use bytes::BytesMut;

use super::super::command::Command;
use super::super::fuzz::Seed;
use super::super::inbox::{Ears, Inbox};
use super::super::queue::Expected;
use super::super::resp::{Decoder, Frame};
use super::super::socket::Socket;
use super::*;
use crate::host::{Poller, block_on};
use crate::runtime::{Runtime, ThreadRuntime};

const REQUESTS: usize = 3000;
const HANGS: Duration = Duration::from_secs(60);

impl Loan {
    fn is_at_runtime(&self) -> bool {
        matches!(self.to, To::Runtime { .. })
    }
}

impl Seed {
    fn is_one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    /// Sometimes, for some milliseconds.
    fn doze(&mut self, one_in: u64) {
        if self.is_one_in(one_in) {
            thread::sleep(Duration::from_micros(self.below(7000)));
        }
    }
}

/// Answers `ASK number payload … id` by the number.
fn serve(mut stream: UnixStream, mut seed: Seed) {
    let (mut decoder, mut unread, mut room) = (Decoder::default(), BytesMut::new(), [0; 9000]);
    loop {
        let most = 1 + seed.below(room.len() as u64) as usize;
        let Ok(1..) = stream.read(&mut room[..most]).inspect(|read| {
            unread.extend_from_slice(&room[..*read]);
        }) else {
            return;
        };
        let mut out = Vec::new();
        while let Ok(Some(Frame::Answer(Value::Array(words)))) = decoder.next(&mut unread) {
            let [_, Value::BulkString(asked), .., Value::BulkString(id)] = &words[..] else {
                panic!("no request of ours: {words:?}");
            };
            let (asked, id) = (String::from_utf8_lossy(asked), String::from_utf8_lossy(id));
            if seed.is_one_in(8) {
                out.extend(b">3\r\n$7\r\nmessage\r\n$7\r\nchannel\r\n$4\r\ngone\r\n");
            }
            out.extend(format!("*2\r\n${}\r\n{id}\r\n:{asked}\r\n", id.len()).bytes());
        }
        for piece in out.chunks(1 + seed.below(200) as usize) {
            seed.doze(60);
            if stream.write_all(piece).is_err() {
                return;
            }
        }
    }
}

async fn ask_with(link: &Arc<Link>, payload: u64, asked: usize) -> Value {
    let mut command = Command::of(&["ASK", &asked.to_string(), &"x".repeat(payload as usize)]);
    let number = link.next_number();
    command.add(number);
    link.ask(command, Expected::Number(number), None).await.unwrap()
}

async fn ask(link: &Arc<Link>, seed: &mut Seed, asked: usize) {
    let payload = if seed.is_one_in(20) { seed.below(300_000) } else { seed.below(50) };
    let mut answer = pin!(ask_with(link, payload, asked));
    if seed.is_one_in(10) {
        // It is left to come to nobody.
        return poll_fn(|context| Poll::Ready(_ = answer.as_mut().poll(context))).await;
    }
    assert_eq!(answer.await, Value::Int(asked as i64));
}

async fn ask_much(link: Arc<Link>, mut seed: Seed) {
    for asked in 0..REQUESTS {
        ask(&link, &mut seed, asked).await;
        seed.doze(30);
    }
}

struct Ring(Arc<Poller>);

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        self.0.ring();
    }
}

/// As another loop would, but that it looks again and again.
fn turn_until_done(work: impl Future<Output = ()>) {
    let (poller, mut work) = (Arc::new(Poller::new().unwrap()), pin!(work));
    let waker = Waker::from(Arc::new(Ring(poller.clone())));
    while poller.poll(work.as_mut(), &mut Context::from_waker(&waker)).is_pending() {
        thread::sleep(Duration::from_micros(100));
        poller.turn();
    }
}

/// A link that is driven, and its server.
fn begin() -> (Arc<Link>, Arc<ThreadRuntime>, thread::JoinHandle<()>) {
    let home = ThreadRuntime::start().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let server = thread::spawn(|| serve(theirs, Seed(21)));
    let (ears, _news) = Ears::new();
    let socket = Socket::Unix(Arc::new(ours));
    let inbox = Inbox::of(socket.clone(), "channel".into(), false, true);
    let times = (home.clone() as Arc<dyn Runtime>, HANGS);
    let link = Link::over(1, times, (inbox, ears), socket.clone(), socket);
    let driver = (link.clone(), home.clone());
    home.spawn(Box::pin(async move { drop(driver.0.drive(&*driver.1).await) }));
    (link, home, server)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// So that it is lent there, and nothing goes on there after that.
fn borrow_once(link: &Arc<Link>) -> (tokio::runtime::Runtime, u64) {
    let there = runtime();
    there.block_on(async {
        while !link.tending.state().loan.as_ref().is_some_and(|loan| loan.is_at_runtime()) {
            ask_with(link, 0, 1).await;
        }
        // Whoever tends it there has begun.
        tokio::task::yield_now().await;
    });
    let number = link.tending.state().loans;
    (there, number)
}

#[test]
fn who_had_a_link_and_stands_still_is_not_told_what_is_to_be_written() {
    let (link, home, server) = begin();
    let still: Vec<_> = (0..5)
        .map(|_| {
            let there = borrow_once(&link);
            link.tending.end_any();
            there
        })
        .collect();
    let (done, is_done) = channel();
    let asked = link.clone();
    home.spawn(Box::pin(async move {
        // Of both at once, the second is left to whoever tends it, which is this thread.
        tokio::join!(ask_with(&asked, 0, 1), ask_with(&asked, 0, 2));
        done.send(()).unwrap();
    }));
    let answered = is_done.recv_timeout(HANGS / 6);
    drop(still);
    link.shut("it is over");
    server.join().unwrap();
    answered.unwrap();
}

#[test]
fn who_had_a_link_before_neither_ends_a_later_loan_nor_goes_on_with_it() {
    let (link, _home, server) = begin();
    let (there, first) = borrow_once(&link);
    link.tending.end(first);
    let (_elsewhere, second) = borrow_once(&link);
    assert!(first < second && link.tending.is_lent_as(second));
    link.tending.end(first);
    Lent::leave(&*link, first);
    assert!(link.tending.is_lent_as(second));
    assert!(!Lent::read_as(&*link, first) && !link.tending.is_lent_as(first));
    // It sees that it is over, and gives back nothing.
    there.block_on(async { tokio::task::yield_now().await });
    drop(there);
    assert!(link.tending.is_lent_as(second));
    assert!(link.tending.state().loan.as_ref().is_some_and(|loan| loan.is_at_runtime()));
    link.shut("it is over");
    server.join().unwrap();
}

#[test]
fn whoever_has_a_link_on_loan_everybody_gets_their_own_answers() {
    let (link, _home, server) = begin();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut seed = Seed(22);
            while !is_over.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_micros(seed.below(600)));
                seed.doze(50);
                link.tending.end_any();
            }
        });
        let (done, all_done) = channel();
        for number in 0..4 {
            let (link, done) = (link.clone(), done.clone());
            scope.spawn(move || {
                let work = ask_much(link.clone(), Seed(31 + number));
                match number {
                    0 | 1 => block_on(work),
                    2 => turn_until_done(work),
                    _ => runtime()
                        .block_on(async { _ = tokio::join!(work, ask_much(link, Seed(41))) }),
                }
                done.send(()).unwrap();
            });
        }
        let hangs = (0..4).any(|_| all_done.recv_timeout(HANGS).is_err());
        is_over.store(true, Ordering::SeqCst);
        if hangs {
            link.shut("somebody hangs");
        }
        assert!(!hangs && link.broken().is_none(), "{:?}", link.broken());
    });
    link.shut("it is over");
    server.join().unwrap();
}
