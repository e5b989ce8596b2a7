//! One process among many, as the tests of several processes start it.
//!
//! `worker count DATABASE REGISTER NUMBER ROUNDS FENCED`: increment the
//! register under the lock until this number's share is done.
//! `worker hold DATABASE TTL_MS [shared|rests|PERMITS]`: hold the lock and answer questions
//! on stdin.
//! The database may also be a URL, of a server.
//! `worker adopt DATABASE TICKET`: the same with a lease that was handed on.
//! `worker fork DATABASE`: what a lease is worth in a forked child.
//! `worker fork-waiting URL SERVER`: fork while a thread waits for an answer, and wait
//! there, too; of the server with this process id.
//! `worker crowded`: connect where no thread is to be had.

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Duration;

use leasehold::host::Waiter;
use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::{Client, Kind, Lease, Options, block_on};
use leasehold_tests::register::Register;
use rustix::process::{Pid, Signal, kill_process};

type Failure = Box<dyn std::error::Error>;

const NAME: &str = "register";

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    match words[..] {
        ["count", database, register, number, rounds, fenced] => {
            let count = Count {
                register: Register::at(Path::new(register)),
                number: number.parse()?,
                rounds: rounds.parse()?,
                fenced: fenced.parse()?,
            };
            runtime.block_on(count.run(database))
        }
        ["hold", database, ttl, ref kind @ ..] => {
            runtime.block_on(hold(database, Duration::from_millis(ttl.parse()?), kind))
        }
        ["adopt", database, ticket] => runtime.block_on(async {
            let client = connect(database).await?;
            answer(client.adopt(ticket).await?).await
        }),
        ["fork", database] => fork(&runtime, database),
        ["fork-waiting", url, server] => {
            runtime.block_on(connect(url)).and_then(|client| fork_waiting(&client, server))
        }
        ["crowded"] => runtime.block_on(crowded()),
        _ => Err("usage: see the first lines of worker.rs".into()),
    }
}

async fn crowded() -> Result<(), Failure> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    // There is no room for the stack of another.
    let status = std::fs::read_to_string("/proc/self/status")?;
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap_or_default();
    let size: u64 = size.trim().trim_end_matches(" kB").parse()?;
    let most = Some((size + 1024) * 1024);
    setrlimit(Resource::As, Rlimit { current: most, maximum: most })?;
    for url in ["memory:", "sqlite:"] {
        match leasehold::connect(url).await {
            Ok(_) => println!("connected"),
            Err(e) => println!("{}", e.code()),
        }
    }
    Ok(())
}

async fn connect(database: &str) -> Result<Client, Failure> {
    let is_url = database.contains("://");
    let url = if is_url { database.to_owned() } else { format!("sqlite:{database}") };
    Ok(leasehold::connect(&url).await?)
}

struct Count {
    register: Register,
    number: usize,
    rounds: u64,
    fenced: bool,
}

impl Count {
    async fn run(&self, database: &str) -> Result<(), Failure> {
        let clock = ThreadRuntime::start()?;
        let client = Options::new()
            .runtime(clock.clone())
            .ttl(Duration::from_millis(if self.fenced { 500 } else { 10_000 }))
            .connect(&format!("sqlite:{database}"))
            .await?;
        let mut mine = None;
        loop {
            let lease = match client.lock(NAME).acquire().await {
                Ok(lease) => lease,
                // A stopped process may hold the database's own lock for a while.
                Err(e) if e.kind() == Kind::Unavailable => continue,
                Err(e) => return Err(e.into()),
            };
            let Some(content) = self.register.read(self.fence(&lease), std::process::id())? else {
                continue;
            };
            let before = *mine.get_or_insert(content.counts[self.number]);
            if content.counts[self.number] != before {
                let now = content.counts[self.number];
                return Err(format!("worker {}: {before} became {now}", self.number).into());
            }
            if before >= self.rounds {
                client.close().await;
                return Ok(());
            }
            clock.sleep(Duration::from_micros(1000 + clock.random() as u64 % 4000)).await;
            let counts = content.plus_one(self.number);
            // On purpose without a look at is_valid(): the fence must do.
            if self.register.write(self.fence(&lease), &counts)? {
                mine = Some(before + 1);
            } else {
                println!("rejected");
            }
            drop(lease.release().await);
        }
    }

    fn fence(&self, lease: &Lease) -> u64 {
        if self.fenced { lease.fence() } else { 0 }
    }
}

async fn hold(database: &str, ttl: Duration, kind: &[&str]) -> Result<(), Failure> {
    let client = connect(database).await?;
    let lock = client.lock(NAME).ttl(ttl);
    let lock = match kind {
        [] => lock,
        ["shared"] => lock.shared(),
        ["rests"] => lock.min_hold(Duration::from_secs(3600)),
        [permits, ..] => lock.permits(permits.parse()?),
    };
    answer(lock.acquire().await?).await
}

async fn answer(lease: Lease) -> Result<(), Failure> {
    say(&format!("held {}", lease.fence()));
    for question in std::io::stdin().lock().lines() {
        match question?.as_str() {
            "valid" => say(&lease.is_valid().to_string()),
            "lost" => say(&format!("{:?}", lease.lost().await)),
            question if question.starts_with("ticket ") => {
                let valid = Duration::from_secs(question["ticket ".len()..].parse()?);
                say(lease.into_ticket_for(valid).await?.as_str());
            }
            "release" => say(&format!("{:?}", lease.release().await.map_err(|e| e.code()))),
            other => return Err(format!("unknown question {other:?}").into()),
        }
    }
    Ok(())
}

fn say(line: &str) {
    println!("{line}");
    drop(std::io::stdout().flush());
}

/// The child says what it sees by its exit code.
fn fork(runtime: &tokio::runtime::Runtime, database: &str) -> Result<(), Failure> {
    let client = runtime.block_on(connect(database))?;
    // No renewal is due either, while this goes on.
    let lock = client.lock(NAME).ttl(Duration::from_secs(3600));
    let lease = runtime.block_on(lock.acquire())?;
    // SAFETY: only this thread runs on in the child, which takes nothing that
    // another thread could have had locked: the checks below touch the lease,
    // the client's process id, and what the client makes anew in the child.
    #[allow(unsafe_code)]
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: ends this process if it hangs, so that the test fails instead.
        #[allow(unsafe_code)]
        unsafe {
            libc::alarm(60)
        };
        let seen = in_child(database, client, lease);
        std::process::exit(seen.map_or(99, i32::from));
    }
    let mut status = 0;
    // SAFETY: waits for the child that was just made.
    #[allow(unsafe_code)]
    let waited = unsafe { libc::waitpid(child, &mut status, 0) };
    if waited != child || status != 0 {
        return Err(format!("the child ended with status {status:#x}").into());
    }
    let kept = runtime.block_on(lease.renew());
    say(&format!("valid {} renewed {:?}", lease.is_valid(), kept.map_err(|e| e.code())));
    Ok(())
}

/// As a signal's handler forks, in the middle of a wait for an answer that goes on in
/// both. The server's process stands still until then.
fn fork_waiting(client: &Client, server: &str) -> Result<(), Failure> {
    const TIMES: usize = 10;
    // The connection is on loan for longer than three of them.
    const PART: Duration = Duration::from_millis(20);
    const PROMPT: Duration = Duration::from_millis(400);
    let server = Pid::from_raw(server.parse()?).ok_or("no process")?;
    let (lock, mut promptly) = (client.lock(NAME), 0);
    for _ in 0..TIMES {
        block_on(block_on(lock.acquire())?.release())?;
        kill_process(server, Signal::STOP)?;
        let (waiter, mut waiting) = (Waiter::new(), Box::pin(lock.acquire()));
        if waiter.wait(waiting.as_mut(), Some(PART)).is_some() {
            return Err("a server that stands still has answered".into());
        }
        // SAFETY: only this thread runs on in the child, which goes on with its wait and ends.
        #[allow(unsafe_code)]
        let child = unsafe { libc::fork() };
        if child == 0 {
            drop(waiter.wait(waiting.as_mut(), Some(PROMPT)));
            // SAFETY: ends this process and nothing else.
            #[allow(unsafe_code)]
            unsafe {
                libc::_exit(0)
            }
        }
        // The child waits; in the parent nobody polls while the answer comes.
        leasehold_tests::patience::pause(PART);
        kill_process(server, Signal::CONT)?;
        leasehold_tests::patience::pause(PART);
        let lease = waiter.wait(waiting.as_mut(), Some(PROMPT)).transpose()?;
        promptly += usize::from(lease.is_some());
        let lease = match lease {
            Some(lease) => lease,
            None => block_on(waiting)?,
        };
        // SAFETY: waits for the child that was just made.
        #[allow(unsafe_code)]
        let waited = unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        if waited != child {
            return Err("the child is not to be waited for".into());
        }
        block_on(lease.release())?;
    }
    say(&format!("answered promptly {promptly} of {TIMES}"));
    Ok(())
}

/// 0, or the number of the first check that failed.
fn in_child(database: &str, client: Client, lease: Lease) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    if lease.is_valid() {
        return Ok(1);
    }
    if runtime.block_on(lease.release()).is_ok() {
        return Ok(2);
    }
    drop(lease);
    let own = runtime.block_on(client.lock("of the child").try_acquire());
    if !database.contains("://") {
        // What SQLite knows of its locks is the parent's.
        let refused = own.err().is_some_and(|e| e.kind() == Kind::Refused);
        return Ok(if refused { 0 } else { 3 });
    }
    // Over a network it connects anew here.
    if runtime.block_on(client.lock(NAME).try_acquire())?.is_some() {
        return Ok(3);
    }
    let Some(own) = own? else { return Ok(4) };
    let status = runtime
        .block_on(client.status("of the child"))?
        .and_then(|status| status.holders.into_iter().next());
    let label = format!(":{}", std::process::id());
    if !own.is_valid() || !status.is_some_and(|holder| holder.label.ends_with(&label)) {
        return Ok(5);
    }
    drop(own);
    runtime.block_on(client.close());
    if runtime.block_on(client.lock("other").try_acquire()).err().map(|e| e.kind())
        != Some(Kind::Closed)
    {
        return Ok(6);
    }
    let fresh = runtime.block_on(connect(database))?;
    if runtime.block_on(fresh.lock("of the child").try_acquire())?.is_none() {
        return Ok(7);
    }
    runtime.block_on(fresh.close());
    Ok(0)
}
