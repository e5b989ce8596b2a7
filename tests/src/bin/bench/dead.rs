//! What a million who died in the line of a lock cost the others at its server.

use std::cell::OnceCell;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use leasehold::{Client, Lease};
use leasehold_tests::own_keys::{line, side, waiting};
use leasehold_tests::patience::{LIMIT, now, pause, until};
use leasehold_tests::resp::Reply;
use leasehold_tests::servers::{Connection, Server};
use tokio::runtime::Runtime;

use super::Failure;

const DEAD: usize = 1_000_000;
const LOCK: &str = "leasehold:x";
/// Of each step, one after the other.
const TIMES: usize = 300;
const TTL: Duration = Duration::from_secs(30);
/// Nobody hears this: the process that listened is gone.
const NOBODY: &str = "leasehold:00000000000000000000000000000000";

/// Put some into the line, before all others.
const DIE: &str = "
for number = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local owner = string.format('dead%028d', number)
  redis.call('ZADD', KEYS[1], number - 10000000, owner)
  redis.call('HSET', KEYS[2], owner, ARGV[3])
end";

/// Asks a server for a PONG every millisecond, and keeps the longest wait for it.
struct Pinging {
    longest: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pinging {
    fn start(server: &Server) -> Result<Self, Failure> {
        let mut connection = Connection::open(server.port())?;
        let (longest, is_over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let shared = (longest.clone(), is_over.clone());
        let thread = std::thread::spawn(move || {
            let (longest, is_over) = shared;
            let id = fs::read_link("/proc/thread-self").unwrap_or_default();
            put_first(&id.file_name().unwrap_or_default().to_string_lossy());
            while !is_over.load(Ordering::Relaxed) {
                let start = now();
                if connection.ask(&["PING"]).is_err() {
                    return println!("  a PING was not answered");
                }
                let took = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
                longest.fetch_max(took, Ordering::Relaxed);
                pause(Duration::from_millis(1));
            }
        });
        Ok(Self { longest, is_over, thread: Some(thread) })
    }

    fn take(&self) -> f64 {
        self.longest.swap(0, Ordering::Relaxed) as f64 / 1000.0
    }
}

impl Drop for Pinging {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// What else this machine does is to keep neither a server nor who asks it waiting.
fn put_first(id: &str) {
    let done = Command::new("chrt").args(["--all-tasks", "--fifo", "--pid", "10", id]).status();
    if !done.is_ok_and(|status| status.success()) {
        println!("  no real-time priority: other load of this machine counts");
    }
}

struct Scene {
    servers: Vec<Server>,
    url: String,
    pinging: Vec<Pinging>,
    runtime: Runtime,
    /// Of the line and of what is beside it, the same on every server.
    keys: OnceCell<[String; 2]>,
}

/// Every step that touches the line, beside the PINGs: on one Redis, or on three
/// nodes of a quorum.
pub(super) fn in_line(on_nodes: bool) -> Result<(), Failure> {
    let servers: Vec<Server> = (0..if on_nodes { 3 } else { 1 }).map(|_| Server::start()).collect();
    let hosts: Vec<String> = servers.iter().map(|s| format!("127.0.0.1:{}", s.port())).collect();
    let kind = if on_nodes { "redlock" } else { "redis" };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let pinging = servers.iter().map(Pinging::start).collect::<Result<_, _>>()?;
    let url = format!("{kind}://{}", hosts.join(","));
    let scene = Scene { servers, url, pinging, runtime, keys: OnceCell::new() };
    for server in &scene.servers {
        put_first(&server.pid().to_string());
        server.command(&["CONFIG", "SET", "slowlog-max-len", "100000"]);
        server.command(&["CONFIG", "SET", "slowlog-log-slower-than", "1000"]);
    }
    for (what, place) in [
        ("died long ago", format!("1 60000 {NOBODY} long dead")),
        ("were just killed", format!("99999999999999 60000 {NOBODY} just killed")),
    ] {
        println!("{kind}: beside {DEAD} in the line who {what}, the longest");
        println!("{:44} {:>12} {:>14}", "", "wait of PING", "command");
        scene.play(&place)?;
    }
    Ok(())
}

impl Scene {
    fn play(&self, place: &str) -> Result<(), Failure> {
        let [holder, other, third] = [self.client()?, self.client()?, self.client()?];
        let lease = self.runtime.block_on(holder.lock("x").ttl(TTL).acquire())?;
        let lock = other.lock("x").ttl(TTL);
        let waiter = self.runtime.spawn(async move { lock.acquire().await });
        let keys = |server: &Server| Some([line(server, LOCK)?, side(server, LOCK)?]);
        let find = || self.servers.iter().find_map(keys);
        self.keys.get_or_init(|| until(LIMIT, find).expect("it stands in the line"));
        self.bury(DEAD, place)?;
        self.step("nothing for a second", || {
            pause(Duration::from_secs(1));
            Ok(())
        })?;
        self.step("status", || self.wait(holder.status("x")).map(drop))?;
        self.step("list", || self.wait(holder.list()).map(drop))?;
        self.step("try_acquire", || {
            self.many(|| self.wait(third.lock("x").ttl(TTL).try_acquire()).map(drop))
        })?;
        let patient = third.lock("x").ttl(TTL).wait(Duration::from_millis(5));
        self.step("acquire, given up after 5 ms: withdrawn", || {
            // Busy is an error here.
            self.many(|| {
                drop(self.runtime.block_on(patient.acquire()));
                Ok(())
            })
        })?;
        self.step("renew", || self.many(|| self.wait(lease.renew())))?;
        self.step("break_lock", || self.wait(holder.break_lock("x")).map(drop))?;
        let served = self.step("handed on to who waits behind them", || {
            Ok(self.runtime.block_on(waiter)??)
        })?;
        // It is taken again in front of those who are left.
        self.bury(DEAD, place)?;
        self.step("release, and who comes next", || self.taken_again(served, &third))?;
        self.bury(DEAD, place)?;
        self.step("acquire and release, until none is left", || self.pass_all(&third))?;
        self.step("clients closed", || {
            self.runtime.block_on(async {
                holder.close().await;
                other.close().await;
                third.close().await;
            });
            Ok(())
        })?;
        // The most that a line takes, and more than that.
        for (dead, what) in [(10_000, "10 000 expire, a day after"), (DEAD, "as many expire")] {
            let client = self.client()?;
            drop(self.wait(client.lock("x").acquire())?);
            self.bury(dead, place)?;
            self.step(what, || {
                self.expire();
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Released and asked for, released and asked for.
    fn taken_again(&self, first: Lease, client: &Client) -> Result<(), Failure> {
        let mut lease = Some(first);
        self.many(|| {
            if let Some(lease) = lease.take() {
                self.wait(lease.release())?;
            }
            lease = self.wait(client.lock("x").ttl(TTL).try_acquire())?;
            Ok(())
        })?;
        lease.map_or(Ok(()), |lease| self.wait(lease.release()))
    }

    fn pass_all(&self, client: &Client) -> Result<(), Failure> {
        let mut turns = 0;
        while self.servers.iter().any(|server| waiting(server, LOCK) > 0) {
            let lock = client.lock("x").ttl(TTL);
            for _ in 0..100 {
                if let Some(lease) = self.wait(lock.try_acquire())? {
                    self.wait(lease.release())?;
                }
            }
            turns += 100;
            if turns > 100_000 {
                println!("  some are left after {turns} turns");
                break;
            }
        }
        Ok(())
    }

    /// The server deletes them when it comes to it.
    fn expire(&self) {
        for server in &self.servers {
            let keys = || server.command(&["DBSIZE"]).as_int().unwrap_or_default();
            let before = keys();
            for key in self.keys.get().into_iter().flatten() {
                server.command(&["PEXPIRE", key, "1"]);
            }
            until(LIMIT, || (keys() <= before - 2).then_some(())).expect("they expire");
        }
    }

    /// On all servers.
    fn bury(&self, dead: usize, place: &str) -> Result<(), Failure> {
        for server in &self.servers {
            let [line, side] = self.keys.get().ok_or("nobody has waited")?;
            for from in (0..dead).step_by(10_000) {
                let [from, to] = [from, from + 9_999].map(|number| number.to_string());
                let words = ["EVAL", DIE, "2", line, side, &from, &to, place];
                assert_eq!(server.command(&words), Reply::Nil);
            }
        }
        Ok(())
    }

    fn step<T>(&self, what: &str, act: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        for (server, pinging) in self.servers.iter().zip(&self.pinging) {
            server.command(&["SLOWLOG", "RESET"]);
            pinging.take();
        }
        let done = act()?;
        // A PING that waits has been answered by then.
        pause(Duration::from_millis(50));
        let longest = self.pinging.iter().map(Pinging::take).fold(0.0, f64::max);
        let command = self.servers.iter().map(slowest).max().unwrap_or_default();
        println!("  {what:<42} {longest:>9.1} ms {:>11.1} ms", command as f64 / 1000.0);
        Ok(done)
    }

    fn many(&self, mut act: impl FnMut() -> Result<(), Failure>) -> Result<(), Failure> {
        (0..TIMES).try_for_each(|_| act())
    }

    fn client(&self) -> Result<Client, Failure> {
        Ok(self.runtime.block_on(leasehold::connect(&self.url))?)
    }

    fn wait<T>(
        &self,
        call: impl Future<Output = Result<T, leasehold::Error>>,
    ) -> Result<T, Failure> {
        Ok(self.runtime.block_on(call)?)
    }
}

/// The longest that a script took, in µs, if it was more than 1 ms.
fn slowest(server: &Server) -> i64 {
    let log = server.command(&["SLOWLOG", "GET", "-1"]);
    let took = |entry: &Reply| entry.as_list()?.get(2)?.as_int();
    log.as_list().into_iter().flatten().filter_map(took).max().unwrap_or_default()
}
