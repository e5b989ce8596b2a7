//! One connection: a client's socket, a socket to the server, and two threads
//! for each direction, so that what is on its way does not keep the next waiting.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Instant;

use super::controls::{Direction, Shared};
use super::fault::{Applied, Fault, Gate};
use super::pending::{Fate, Pending};
use crate::resp::{Reply, parse_command, parse_reply};

pub(super) struct Link {
    client: TcpStream,
    server: TcpStream,
    severed: AtomicBool,
    /// The client is gone, and a gate still holds its last command.
    detached: AtomicBool,
    pending: Mutex<Pending>,
}

/// Something on its way, until its time has come.
struct Item<W> {
    due: Instant,
    what: W,
}

enum Upward {
    Command(Command),
    /// The client has nothing more to say.
    End,
    Cut(Applied),
}

enum Downward {
    Reply(Vec<u8>),
    Cut(Option<Applied>),
}

struct Command {
    raw: Vec<u8>,
    arguments: Vec<Vec<u8>>,
    /// One for each time that it is sent.
    fates: Vec<Fate>,
    /// What it waits for after its time has come.
    gate: Option<Gate>,
    sent: Option<Applied>,
}

impl Link {
    pub(super) fn new(client: TcpStream, server: TcpStream) -> io::Result<Self> {
        let pending = Mutex::default();
        let (severed, detached) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Self { client, server, severed, detached, pending })
    }

    pub(super) fn is_severed(&self) -> bool {
        self.severed.load(Ordering::SeqCst)
    }

    pub(super) fn is_detached(&self) -> bool {
        self.detached.load(Ordering::SeqCst)
    }

    pub(super) fn sever(&self) {
        self.severed.store(true, Ordering::SeqCst);
        // Either may be closed already.
        drop(self.client.shutdown(Shutdown::Both));
        drop(self.server.shutdown(Shutdown::Both));
    }

    fn detach(&self) {
        self.detached.store(true, Ordering::SeqCst);
        drop(self.client.shutdown(Shutdown::Both));
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().expect("no holder panics")
    }
}

type Work = Box<dyn FnOnce(&Link, &Shared) + Send>;

/// Start its threads. They end when both sides are closed.
pub(super) fn run(link: Link, shared: &Arc<Shared>) {
    let link = Arc::new(link);
    shared.register(&link);
    let (commands, outgoing) = channel();
    let (replies, incoming) = channel();
    let start = |work: Work| {
        let (link, shared) = (link.clone(), shared.clone());
        thread::spawn(move || work(&link, &shared));
    };
    start(Box::new(move |link, shared| read_commands(link, shared, &commands)));
    start(Box::new(move |link, shared| write_commands(link, shared, outgoing)));
    start(Box::new(move |link, shared| read_replies(link, shared, &replies)));
    start(Box::new(move |link, shared| write_replies(link, shared, incoming)));
}

fn read_commands(link: &Link, shared: &Shared, queue: &Sender<Item<Upward>>) {
    let mut received = Vec::new();
    // Nothing overtakes what was delayed before it.
    let mut due = shared.due(Direction::Up);
    while let Some((mut arguments, raw)) =
        next(&link.client, &mut received, shared.protocol.command)
    {
        if let Some(name) = arguments.first_mut() {
            name.make_ascii_uppercase();
        }
        let fault = shared.meet(&arguments);
        due = due.max(shared.due(Direction::Up));
        if let Some((Fault::Delay(longer), _)) = &fault {
            due += *longer;
        }
        let late = match &fault {
            Some((Fault::Late(_), applied)) => Some(applied.clone()),
            _ => None,
        };
        drop(queue.send(Item { due, what: affected(arguments, raw, fault) }));
        if let Some(applied) = late {
            link.detach();
            applied.set();
            return;
        }
    }
    let due = due.max(shared.due(Direction::Up));
    drop(queue.send(Item { due, what: Upward::End }));
}

/// What becomes of a command.
fn affected(arguments: Vec<Vec<u8>>, raw: Vec<u8>, fault: Option<(Fault, Applied)>) -> Upward {
    let mut command = Command { raw, arguments, fates: vec![Fate::Pass], gate: None, sent: None };
    match fault {
        None => {}
        Some((Fault::Delay(_), applied)) => command.sent = Some(applied),
        Some((Fault::LoseReply, applied)) => command.fates = vec![Fate::Cut(applied)],
        Some((Fault::Duplicate, applied)) => command.fates.push(Fate::Swallow(applied)),
        Some((Fault::CutBefore, applied)) => return Upward::Cut(applied),
        Some((Fault::Late(gate), _)) => {
            command.fates = vec![Fate::Late(gate.clone())];
            command.gate = Some(gate);
        }
    }
    Upward::Command(command)
}

fn write_commands(link: &Link, shared: &Shared, queue: Receiver<Item<Upward>>) {
    for Item { due, what } in queue {
        // All are looked at even on a cut connection: a gate may wait for one.
        let passes = shared.hold(Direction::Up, due, link);
        match what {
            Upward::Command(command) => command.send(link, passes),
            Upward::End if passes => drop(link.server.shutdown(Shutdown::Write)),
            Upward::Cut(applied) => {
                link.sever();
                applied.set();
            }
            Upward::End => {}
        }
    }
}

impl Command {
    fn send(self, link: &Link, passes: bool) {
        let passes = passes && self.gate.as_ref().is_none_or(Gate::wait_open);
        let times = self.fates.len();
        for fate in self.fates {
            link.pending().expect(&self.arguments, fate);
        }
        let sent = passes && (&link.server).write_all(&self.raw.repeat(times)).is_ok();
        if !sent {
            // The reader of replies tells the client; here only gates are told.
            link.pending().end();
        }
        self.sent.iter().for_each(Applied::set);
    }
}

fn read_replies(link: &Link, shared: &Shared, queue: &Sender<Item<Downward>>) {
    let mut received = Vec::new();
    let mut due = shared.due(Direction::Down);
    let mut cut = None;
    while let Some((said, raw)) = next(&link.server, &mut received, shared.protocol.reply) {
        due = due.max(shared.due(Direction::Down));
        let drops = shared.look(|controls| controls.drop_pushes);
        let fate = link.pending().fate(&said, drops);
        match fate {
            Some(Fate::Pass) => drop(queue.send(Item { due, what: Downward::Reply(raw) })),
            Some(Fate::Swallow(applied)) => applied.set(),
            Some(Fate::Cut(applied)) => {
                cut = Some(applied);
                break;
            }
            Some(Fate::Late(gate)) => {
                gate.executed(true);
                break;
            }
            None => {}
        }
    }
    link.pending().end();
    let due = due.max(shared.due(Direction::Down));
    drop(queue.send(Item { due, what: Downward::Cut(cut) }));
}

fn write_replies(link: &Link, shared: &Shared, queue: Receiver<Item<Downward>>) {
    for Item { due, what } in queue {
        let passes = shared.hold(Direction::Down, due, link);
        match what {
            // A client that does not listen is noticed by the reader of commands.
            Downward::Reply(raw) if passes => drop((&link.client).write_all(&raw)),
            Downward::Reply(_) => {}
            Downward::Cut(applied) => {
                link.sever();
                applied.iter().for_each(Applied::set);
            }
        }
    }
}

type Parse<T> = fn(&[u8]) -> io::Result<Option<(T, usize)>>;

/// What is one command, and what is one reply.
pub(super) struct Protocol {
    command: Parse<Vec<Vec<u8>>>,
    reply: Parse<Reply>,
}

pub(super) static RESP: Protocol = Protocol { command: parse_command, reply: parse_reply };

/// Nothing answers anything here: a command without arguments has no reply, and a
/// reply without a command passes.
pub(super) static BYTES: Protocol = Protocol {
    command: |bytes| Ok((!bytes.is_empty()).then(|| (Vec::new(), bytes.len()))),
    reply: |bytes| Ok((!bytes.is_empty()).then_some((Reply::Nil, bytes.len()))),
};

/// The next whole thing that comes, parsed and as it came; `None` at the end.
fn next<T>(
    mut socket: &TcpStream,
    received: &mut Vec<u8>,
    parse: Parse<T>,
) -> Option<(T, Vec<u8>)> {
    let mut some = [0; 16 * 1024];
    loop {
        match parse(received) {
            Ok(Some((parsed, length))) => {
                return Some((parsed, received.drain(..length).collect()));
            }
            Ok(None) => {}
            Err(e) => {
                eprintln!("the proxy ends a connection: {e}");
                return None;
            }
        }
        match socket.read(&mut some) {
            Ok(0) => return None,
            Ok(length) => received.extend_from_slice(&some[..length]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}
