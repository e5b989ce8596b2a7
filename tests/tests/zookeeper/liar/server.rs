//! The liar: a tree in memory, sessions that never end by themselves.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use leasehold_tests::patience::now;

/// What is asked, by its number.
const CREATE: i32 = 15;
const DELETE: i32 = 2;
const SYNC: i32 = 9;
/// What a beat deletes.
const NOTHING: &str = "/%leasehold/nothing";

/// What becomes of an answer.
pub(super) type Lie = fn(&mut Vec<u8>);

#[derive(Default)]
struct State {
    /// By their paths: the number of the write that made it, the session it lives with,
    /// and how many children it has had.
    nodes: BTreeMap<String, (i64, i64, i32)>,
    zxid: i64,
    /// How long each lasts.
    sessions: Vec<Duration>,
    connections: usize,
    beats: Vec<(i64, Instant)>,
    /// The session of each request, and its number.
    asked: Vec<(i64, i32)>,
    lie: Option<Lie>,
    hangs_up: bool,
}

pub(super) struct Liar {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Liar {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = state.clone();
        // It ends with the test.
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let shared = shared.clone();
                thread::spawn(move || drop(serve(socket, &shared)));
            }
        });
        Self { port, state }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn url(&self) -> String {
        format!("zookeeper://127.0.0.1:{}", self.port)
    }

    /// The session that lasts for so long, if somebody has asked for one.
    pub(super) fn session(&self, timeout: Duration) -> Option<i64> {
        let at = self.state().sessions.iter().position(|lasts| *lasts == timeout)?;
        Some(at as i64 + 1)
    }

    pub(super) fn connections(&self) -> usize {
        self.state().connections
    }

    /// When the beats of a session came.
    pub(super) fn beats(&self, session: i64) -> Vec<Instant> {
        let state = self.state();
        state.beats.iter().filter(|(of, _)| *of == session).map(|(_, at)| *at).collect()
    }

    /// The numbers of the requests of a session.
    pub(super) fn asked(&self, session: i64) -> Vec<i32> {
        let state = self.state();
        state.asked.iter().filter(|(of, _)| *of == session).map(|(_, number)| *number).collect()
    }

    /// Create the next node in a line as it is asked to, and say something else.
    pub(super) fn lie_once(&self, lie: Lie) {
        self.state().lie = Some(lie);
    }

    /// Say that the next node is deleted, and nothing more over that connection.
    pub(super) fn hang_up_after_a_delete(&self) {
        self.state().hangs_up = true;
    }

    /// Those who hold a lock or wait for it.
    pub(super) fn children(&self, name: &str) -> Vec<String> {
        children(&self.state(), &format!("/leasehold/{name}"))
    }

    pub(super) fn czxid(&self, name: &str) -> Option<u64> {
        let state = self.state();
        let child = children(&state, &format!("/leasehold/{name}")).pop()?;
        Some(state.nodes[&format!("/leasehold/{name}/{child}")].0 as u64)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn children(state: &State, path: &str) -> Vec<String> {
    let below = state.nodes.keys().filter_map(|node| node.strip_prefix(path)?.strip_prefix('/'));
    below.filter(|rest| !rest.contains('/')).map(str::to_owned).collect()
}

fn serve(mut socket: TcpStream, shared: &Mutex<State>) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let hello = receive(&mut socket)?;
    let timeout = i32::from_be_bytes(hello[12..16].try_into().unwrap());
    let asked = i64::from_be_bytes(hello[16..24].try_into().unwrap());
    let session = {
        let mut state = shared.lock().unwrap();
        state.connections += 1;
        // Two ticks of 200 ms at least.
        let timeout = Duration::from_millis(timeout.max(400) as u64);
        if asked == 0 {
            state.sessions.push(timeout);
        }
        let session = if asked == 0 { state.sessions.len() as i64 } else { asked };
        let mut said = 0i32.to_be_bytes().to_vec();
        said.extend((timeout.as_millis() as i32).to_be_bytes());
        said.extend(session.to_be_bytes());
        said.extend(16i32.to_be_bytes());
        said.extend([7; 16]);
        said.push(0);
        send(&mut socket, &said)?;
        session
    };
    loop {
        let request = receive(&mut socket)?;
        let kind = i32::from_be_bytes(request[4..8].try_into().unwrap());
        let mut state = shared.lock().unwrap();
        state.asked.push((session, i32::from_be_bytes(request[..4].try_into().unwrap())));
        let (code, body) = answer(&mut state, session, kind, &request[8..]);
        let mut said = request[..4].to_vec();
        said.extend(state.zxid.to_be_bytes());
        said.extend(code.to_be_bytes());
        said.extend(body);
        if let Some(lie) = state.lie.take_if(|_| (kind, code) == (CREATE, 0)) {
            lie(&mut said);
        }
        // Before it is answered: nobody counts on less than that.
        let is_beat = kind == DELETE && text(&request[8..], 0).0 == NOTHING;
        if is_beat {
            state.beats.push((session, now()));
        }
        send(&mut socket, &said)?;
        if kind == DELETE && !is_beat && std::mem::take(&mut state.hangs_up) {
            return Ok(());
        }
    }
}

/// A text in a request, and where it ends.
fn text(body: &[u8], at: usize) -> (String, usize) {
    let length = i32::from_be_bytes(body[at..at + 4].try_into().unwrap()).max(0) as usize;
    (String::from_utf8_lossy(&body[at + 4..at + 4 + length]).into_owned(), at + 4 + length)
}

/// Its code, and what comes after the head.
fn answer(state: &mut State, session: i64, kind: i32, body: &[u8]) -> (i32, Vec<u8>) {
    const NO_NODE: (i32, Vec<u8>) = (-101, Vec::new());
    const EXISTS: (i32, Vec<u8>) = (-110, Vec::new());
    let text = |at: usize| text(body, at);
    let done = |body: Vec<u8>| (0, body);
    match kind {
        -11 => {
            state.nodes.retain(|_, (_, owner, _)| *owner != session);
            done(Vec::new())
        }
        1 | CREATE | 19 => {
            let (path, _) = text(0);
            let flags = i32::from_be_bytes(body[body.len() - 4..].try_into().unwrap());
            let parent = path.rsplit_once('/').unwrap().0.to_owned();
            if !parent.is_empty() && !state.nodes.contains_key(&parent) {
                return NO_NODE;
            }
            let count = state.nodes.get_mut(&parent).map_or(0, |(_, _, count)| {
                *count += 1;
                *count - 1
            });
            let path = if flags & 2 != 0 { format!("{path}{count:010}") } else { path };
            if state.nodes.contains_key(&path) {
                return EXISTS;
            }
            state.zxid += 1;
            let owner = if flags & 1 != 0 && flags < 4 { session } else { 0 };
            state.nodes.insert(path.clone(), (state.zxid, owner, 0));
            done([written(&path), stat(state, &path)].concat())
        }
        DELETE => match state.nodes.remove(&text(0).0) {
            Some(_) => {
                state.zxid += 1;
                done(Vec::new())
            }
            None => NO_NODE,
        },
        3 | 5 if state.nodes.contains_key(&text(0).0) => done(stat(state, &text(0).0)),
        4 if state.nodes.contains_key(&text(0).0) => {
            done([written(""), stat(state, &text(0).0)].concat())
        }
        8 if state.nodes.contains_key(&text(0).0) => {
            let names = children(state, &text(0).0);
            let mut said = (names.len() as i32).to_be_bytes().to_vec();
            names.iter().for_each(|name| said.extend(written(name)));
            done(said)
        }
        SYNC => done(written(&text(0).0)),
        11 | 100 | 101 => done(Vec::new()),
        _ => NO_NODE,
    }
}

fn stat(state: &State, path: &str) -> Vec<u8> {
    let (czxid, owner, _) = state.nodes[path];
    let longs = |all: &[i64]| all.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<u8>>();
    [longs(&[czxid, czxid, 0, 0]), vec![0; 12], longs(&[owner]), vec![0; 8], longs(&[czxid])]
        .concat()
}

fn written(text: &str) -> Vec<u8> {
    [&(text.len() as i32).to_be_bytes(), text.as_bytes()].concat()
}

fn send(socket: &mut TcpStream, said: &[u8]) -> io::Result<()> {
    socket.write_all(&[&(said.len() as i32).to_be_bytes(), said].concat())
}

fn receive(socket: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let mut said = vec![0; i32::from_be_bytes(length) as usize];
    socket.read_exact(&mut said)?;
    Ok(said)
}
