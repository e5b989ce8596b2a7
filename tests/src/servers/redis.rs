//! A Redis or Valkey server.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tempfile::TempDir;

use super::child::Child;
use super::clock::Clock;
use super::settings::{DATA, RIG, SOCKET, Settings};
use super::{Connection, Failure, PORTS_TRIED, free_port, tls};
use crate::patience::{LIMIT, until};
use crate::resp::Reply;

/// A server, killed when the value is dropped.
pub struct Server {
    settings: Settings,
    port: u16,
    tls_port: Option<u16>,
    clock: Option<Clock>,
    process: Mutex<Process>,
    // Last, because fields are dropped in order and the process is in it.
    dir: TempDir,
}

/// What is gone when it ends.
#[derive(Default)]
struct Process {
    child: Option<Child>,
    /// Calls that the rig made itself, by command.
    own_calls: BTreeMap<String, u64>,
}

impl Server {
    /// Redis in memory, with no [`Settings`] but the default.
    pub fn start() -> Self {
        Settings::default().start()
    }

    pub(super) fn start_with(settings: Settings) -> Self {
        let dir = tempfile::Builder::new().prefix("rig").tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join(DATA)).expect("a new directory");
        if settings.tls {
            tls::certify(dir.path());
        }
        let clock = settings.shifted_clock.then(|| Clock::build(dir.path()));
        let process = Mutex::default();
        let mut server = Self { settings, port: 0, tls_port: None, clock, process, dir };
        for _ in 0..PORTS_TRIED {
            server.port = free_port();
            server.tls_port = server.settings.tls.then(free_port);
            match server.launch() {
                Ok(()) => return server,
                Err(Failure::PortTaken) => {}
                Err(Failure::Other(why)) => panic!("{why}"),
            }
        }
        panic!("{PORTS_TRIED} ports in turn were taken by others");
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where clients connect, without a password.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Where clients connect on this machine's file system.
    pub fn unix_path(&self) -> PathBuf {
        assert!(self.settings.unix_socket, "it was started without .unix_socket()");
        self.dir.path().join(SOCKET)
    }

    /// Where clients connect by TLS.
    pub fn tls_url(&self) -> String {
        format!("rediss://localhost:{}", self.tls_port())
    }

    /// The port for TLS.
    pub fn tls_port(&self) -> u16 {
        self.tls_port.expect("it was started with .tls()")
    }

    /// The certificate of the authority that signed the server's.
    pub fn ca_path(&self) -> PathBuf {
        assert!(self.settings.tls, "it was started without .tls()");
        self.dir.path().join(tls::AUTHORITY)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.with_child(Child::id)
    }

    /// Everything that it has printed.
    pub fn log(&self) -> String {
        let log = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// End it by SIGKILL; what waits in its sockets is not done.
    pub fn kill(&self) {
        *self.process() = Process::default();
    }

    /// End it by SIGTERM.
    pub fn stop(&self) {
        if let Some(child) = std::mem::take(&mut *self.process()).child {
            child.terminate();
        }
    }

    /// Start it again with what it stored, after ending it by SIGTERM if it still runs.
    pub fn restart(&self) {
        self.stop();
        let launched = until(LIMIT, || match self.launch() {
            Err(Failure::PortTaken) => None,
            done => Some(done),
        });
        match launched {
            Some(Ok(())) => {}
            Some(Err(Failure::Other(why))) => panic!("{why}"),
            _ => panic!("somebody else listens on port {} now", self.port),
        }
    }

    /// Start it again with nothing, as after the loss of its disk.
    pub fn restart_empty(&self) {
        self.kill();
        let data = self.dir.path().join(DATA);
        fs::remove_dir_all(&data).expect("our own directory");
        fs::create_dir(&data).expect("our own directory");
        self.restart();
    }

    /// Stop it by SIGSTOP: connections stay open, and nothing is done.
    pub fn freeze(&self) {
        self.with_child(Child::freeze);
    }

    /// Let it go on with what has come meanwhile.
    pub fn thaw(&self) {
        self.with_child(Child::thaw);
    }

    /// Put its wall clock forward, or back by a negative number. Shifts add up
    /// and outlast a restart.
    pub fn shift_clock(&self, seconds: f64) {
        self.clock.as_ref().expect("it was started with .shifted_clock()").shift(seconds);
    }

    /// Have it do a command on a connection of the rig, and panic if there is no answer.
    pub fn command(&self, arguments: &[&str]) -> Reply {
        let answer = self.try_command(arguments, LIMIT);
        answer.unwrap_or_else(|e| panic!("{arguments:?} was not answered: {e}\n{}", self.log()))
    }

    /// Have it do a command, if it can within the limit.
    pub fn try_command(&self, arguments: &[&str], limit: Duration) -> io::Result<Reply> {
        let mut connection = Connection::open_limited(self.port, limit)?;
        match connection.ask(&["AUTH", RIG, RIG])? {
            Reply::Status(_) => self.count_own("auth"),
            refusal => return Err(io::Error::other(format!("the rig is refused: {refusal:?}"))),
        }
        let reply = connection.ask(arguments)?;
        if !reply.is_error() {
            let names: Vec<String> = arguments.iter().map(|word| word.to_lowercase()).collect();
            self.count_own(&names[0]);
            if let [name, part, ..] = &names[..] {
                self.count_own(&format!("{name}|{part}"));
            }
        }
        Ok(reply)
    }

    /// Everything that it stores, in order.
    pub fn keys(&self) -> Vec<String> {
        let reply = self.command(&["KEYS", "*"]);
        let keys = reply.as_list().expect("a list of keys");
        let mut keys: Vec<String> =
            keys.iter().filter_map(|key| key.as_str().map(str::to_owned)).collect();
        keys.sort();
        keys
    }

    /// How many commands it has done since its start; [`Server::calls_by_command`] for more.
    pub fn calls(&self) -> u64 {
        self.calls_by_command().values().sum()
    }

    /// How often it has done which command since its start, in lower case, with a
    /// bar before a subcommand. The rig's own are left out. What scripts call is
    /// counted as well: to know what clients send, ask the proxy.
    pub fn calls_by_command(&self) -> BTreeMap<String, u64> {
        // Counted by the server only after it has been answered.
        let own = self.process().own_calls.clone();
        let info = self.info("commandstats");
        let calls = info.lines().filter_map(|line| {
            let (name, numbers) = line.strip_prefix("cmdstat_")?.split_once(':')?;
            let calls: u64 = field(numbers, ',', "calls=")?.parse().ok()?;
            // AUTH comes before INFO, on the same connection.
            let own = own.get(name).copied().unwrap_or_default() + u64::from(name == "auth");
            Some((name.to_owned(), calls.saturating_sub(own)))
        });
        calls.filter(|(_, calls)| *calls > 0).collect()
    }

    /// Processor time that it has used since its start.
    pub fn cpu(&self) -> Duration {
        let info = self.info("cpu");
        let seconds = |name| field(&info, '\n', name)?.trim().parse::<f64>().ok();
        let parts = [seconds("used_cpu_user:"), seconds("used_cpu_sys:")];
        parts.into_iter().map(|part| Duration::from_secs_f64(part.expect("a number"))).sum()
    }

    /// A section of `INFO`.
    pub fn info(&self, section: &str) -> String {
        let reply = self.command(&["INFO", section]);
        reply.as_str().expect("text").to_owned()
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        // A test that fails while it holds this is to see its own failure.
        self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn with_child<T>(&self, act: impl FnOnce(&Child) -> T) -> T {
        act(self.process().child.as_ref().expect("a server that runs"))
    }

    fn count_own(&self, name: &str) {
        *self.process().own_calls.entry(name.to_owned()).or_default() += 1;
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn launch(&self) -> Result<(), Failure> {
        *self.process() = Process::default();
        let before = self.log().len();
        let mut child = self.spawn().map_err(|e| Failure::Other(e.to_string()))?;
        let ready = until(LIMIT, || match child.has_ended() {
            true => Some(false),
            false => self.is_ready(child.id()).then_some(true),
        });
        if ready == Some(true) {
            self.process().child = Some(child);
            return Ok(());
        }
        let log = self.log();
        match log.get(before..).unwrap_or(&log).contains("Address already in use") {
            true => Err(Failure::PortTaken),
            false => Err(Failure::Other(format!("{:?} did not start:\n{log}", self.settings))),
        }
    }

    fn spawn(&self) -> io::Result<Child> {
        let dir = self.dir.path();
        let file = dir.join("server.conf");
        fs::write(&file, self.settings.file(dir, self.port, self.tls_port))?;
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut command = Command::new(self.settings.flavor.binary());
        command.arg(&file).current_dir(dir);
        if self.settings.sentinel {
            command.arg("--sentinel");
        }
        command.stdin(std::process::Stdio::null()).stdout(log.try_clone()?).stderr(log);
        if let Some(clock) = &self.clock {
            clock.set_for(&mut command);
        }
        Child::start(command)
    }

    /// Whether it is this process that answers, and no longer with `-LOADING`.
    fn is_ready(&self, pid: u32) -> bool {
        let ask = |arguments: &[&str]| self.try_command(arguments, LIMIT).ok();
        let Some(Reply::Text(info)) = ask(&["INFO", "server"]) else { return false };
        field(&info, '\n', "process_id:").map(str::trim) == Some(&pid.to_string())
            && ask(&["PING"]) == Some(Reply::status("PONG"))
    }
}

/// What follows the name at the start of one of the parts.
fn field<'a>(text: &'a str, separator: char, name: &str) -> Option<&'a str> {
    text.split(separator).find_map(|part| part.strip_prefix(name))
}
