//! A PostgreSQL of its own for each test that needs one.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::{fs, io};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::child::Child;
use super::clock::Clock;
use super::database::{Account, DONE, Talk};
use super::{PORTS_TRIED, free_port, on_path, run, tls};
use crate::patience::{LIMIT, until};

/// The superuser, as whom the rig looks into a server.
pub(super) const RIG: &str = "rig";

/// The packages of the distribution, which keep their programs off PATH.
const PACKAGED: &str = "/usr/lib/postgresql";

const CURE: &str = "apt-get install -y --no-install-recommends postgresql";
pub(super) const ACCOUNT: Account = Account { user: "postgres", cure: CURE };

/// A server to be started. Nothing is on its disk before it is answered, so that tests
/// are fast.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct PostgresSettings {
    lines: Vec<String>,
    hosts: Vec<String>,
    tls: bool,
    shifted_clock: bool,
}

impl PostgresSettings {
    /// A line of postgresql.conf.
    pub fn config(mut self, name: &str, value: &str) -> Self {
        self.lines.push(format!("{name} = '{value}'"));
        self
    }

    /// A line of pg_hba.conf, before those that let in everybody from this machine.
    pub fn host(mut self, line: &str) -> Self {
        self.hosts.push(line.to_owned());
        self
    }

    /// Offer TLS, with a certificate for `localhost` and `127.0.0.1`.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Have a wall clock that [`Postgres::shift_clock`] moves.
    pub fn shifted_clock(mut self) -> Self {
        self.shifted_clock = true;
        self
    }

    /// Start it and wait until it answers.
    pub fn start(self) -> Postgres {
        for _ in 0..PORTS_TRIED {
            let server = Postgres::set_up(&self, free_port());
            if server.launch() {
                return server;
            }
        }
        panic!("PostgreSQL found no port");
    }
}

/// It ends, and what it stored is gone, when the value is dropped.
pub struct Postgres {
    dir: TempDir,
    port: u16,
    clock: Option<Clock>,
    child: Mutex<Option<Child>>,
}

impl Postgres {
    fn set_up(settings: &PostgresSettings, port: u16) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        run(Command::new("cp").arg("-a").arg(template()).arg(dir.path().join("data")), "cp");
        let mut file = format!(
            "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\n\
             max_connections = 400\nfsync = off\nshared_buffers = 32MB\n",
            dir.path().display()
        );
        if settings.tls {
            tls::certify_with_client(dir.path());
            let at = |name| dir.path().join(name).display().to_string();
            file += &format!(
                "ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'\nssl_ca_file = '{}'\n",
                at(tls::CERTIFICATE),
                at(tls::KEY),
                at(tls::AUTHORITY)
            );
        }
        // Last, so that the test has the last word.
        file += &settings.lines.join("\n");
        let mut hosts = format!("local all {RIG} trust\n{}\n", settings.hosts.join("\n"));
        hosts += "local all all trust\nhost all all 127.0.0.1/32 trust\n";
        let write = |name: &str, text: &str| fs::write(dir.path().join("data").join(name), text);
        write("postgresql.conf", &file).expect("our own directory");
        write("pg_hba.conf", &hosts).expect("our own directory");
        let clock = settings.shifted_clock.then(|| Clock::build(dir.path()));
        ACCOUNT.give_away(dir.path());
        Self { dir, port, clock, child: Mutex::new(None) }
    }

    /// Another server that follows this one, as it is now, by what is written to its log. This
    /// one has to let replication in.
    pub fn replica(&self) -> Self {
        for _ in 0..PORTS_TRIED {
            let (dir, port) = (tempfile::tempdir().expect("a directory"), free_port());
            let mut copy = Command::new(program("pg_basebackup"));
            copy.args(["-R", "-X", "stream", "-c", "fast", "-U", RIG, "-h", "127.0.0.1", "-p"]);
            copy.arg(self.port.to_string()).arg("-D").arg(dir.path().join("data"));
            run(&mut copy, CURE);
            let settings = dir.path().join("data/postgresql.conf");
            let mut file = fs::read_to_string(&settings).expect("a copy");
            file +=
                &format!("\nport = {port}\nunix_socket_directories = '{}'\n", dir.path().display());
            fs::write(settings, file).expect("our own directory");
            ACCOUNT.give_away(dir.path());
            let replica = Self { dir, port, clock: None, child: Mutex::new(None) };
            if replica.launch() {
                return replica;
            }
        }
        panic!("PostgreSQL found no port");
    }

    /// Have it wait for its replicas with every commit, from now on.
    pub fn wait_for_replicas(&self) {
        self.sql("ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.sql("SELECT pg_reload_conf()");
        let waits = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        let waits = until(LIMIT, || (self.sql(waits) != "0").then_some(()));
        assert!(waits.is_some(), "no replica follows:\n{}", self.log());
    }

    /// From now on the replica is a server of its own.
    pub fn promote(&self) {
        assert_eq!(self.sql("SELECT pg_promote()"), "t", "{}", self.log());
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of its socket.
    pub fn socket_dir(&self) -> &Path {
        self.dir.path()
    }

    /// The certificate of the authority that signed the server's.
    pub fn ca_path(&self) -> PathBuf {
        self.dir.path().join(tls::AUTHORITY)
    }

    /// Where clients connect, without encryption, as the superuser.
    pub fn url(&self) -> String {
        self.url_as(RIG)
    }

    /// The same as a user, who may have a password: `ann:secret`.
    pub fn url_as(&self, user: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    /// Have it do this, and answer what it says: a row each line, columns with a bar between.
    pub fn sql(&self, sql: &str) -> String {
        self.try_sql(sql).unwrap_or_else(|e| panic!("{sql}: {e}\n{}", self.log()))
    }

    /// The same, or why it does not.
    pub fn try_sql(&self, sql: &str) -> Result<String, String> {
        let mut client = self.client();
        client.args(["-v", "ON_ERROR_STOP=1", "-c", sql]);
        ACCOUNT.answer(client)
    }

    fn client(&self) -> Command {
        let mut client = Command::new(program("psql"));
        client.args(["-XAtq", "-U", RIG, "-d", "postgres", "-p", &self.port.to_string(), "-h"]);
        client.arg(self.dir.path());
        client
    }

    /// A session of the rig that stays, for transactions.
    pub fn talk(&self) -> Talk {
        Talk::with(self.client(), format!("\\echo '{DONE}'"))
    }

    /// How often the log tells of this.
    pub fn logged(&self, what: &str) -> usize {
        self.log().matches(what).count()
    }

    /// Everything that it has printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// End it, and all that it does for clients, by SIGKILL.
    pub fn kill(&self) {
        let child = self.child().take();
        let Some(child) = child else { return };
        // Its own processes outlive it for a moment, and would keep it from coming back.
        let family = family(child.id());
        drop(child);
        family.into_iter().for_each(|pid| signal(pid, Signal::KILL));
    }

    /// Start it again with what it stored, after ending it if it still runs.
    pub fn restart(&self) {
        self.kill();
        let launched = until(LIMIT, || self.launch().then_some(()));
        assert!(launched.is_some(), "PostgreSQL does not come back:\n{}", self.log());
    }

    /// Stop all that it does by SIGSTOP: connections stay open, and nothing is done.
    pub fn freeze(&self) {
        let child = self.child();
        let child = child.as_ref().expect("a server that runs");
        // First the one that makes others.
        child.freeze();
        family(child.id()).into_iter().for_each(|pid| signal(pid, Signal::STOP));
    }

    /// Let it go on with what has come meanwhile.
    pub fn thaw(&self) {
        let child = self.child();
        let child = child.as_ref().expect("a server that runs");
        family(child.id()).into_iter().for_each(|pid| signal(pid, Signal::CONT));
        child.thaw();
    }

    /// Put its wall clock forward, or back by a negative number. Shifts add up.
    pub fn shift_clock(&self, seconds: f64) {
        self.clock.as_ref().expect("it was started with .shifted_clock()").shift(seconds);
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether it answers. It may have found its port taken.
    fn launch(&self) -> bool {
        drop(self.child().take());
        let mut child = self.spawn().unwrap_or_else(|e| panic!("{e}; install it with `{CURE}`"));
        let ready = until(LIMIT, || match child.has_ended() {
            true => Some(false),
            false => self.try_sql("SELECT").is_ok().then_some(true),
        });
        let is_ready = ready == Some(true);
        if is_ready {
            *self.child() = Some(child);
        } else {
            let log = self.log();
            let is_taken = log.contains("could not bind") || log.contains("still in use");
            assert!(is_taken, "PostgreSQL did not start:\n{log}");
        }
        is_ready
    }

    fn spawn(&self) -> io::Result<Child> {
        let log = File::options().create(true).append(true).open(self.dir.path().join("log"))?;
        let mut postgres = Command::new(program("postgres"));
        postgres.arg("-D").arg(self.dir.path().join("data")).current_dir(self.dir.path());
        postgres.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        if let Some(clock) = &self.clock {
            clock.set_for(&mut postgres);
        }
        ACCOUNT.run_as(&mut postgres);
        Child::start(postgres)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Unless it has ended by itself.
fn signal(to: Pid, signal: Signal) {
    let _ = kill_process(to, signal);
}

/// The processes that this one has started.
fn family(parent: u32) -> Vec<Pid> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let children = children.unwrap_or_default();
    children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

/// On PATH, or where the package of the highest version has it.
pub(super) fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir(PACKAGED).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|dir| {
            let version = dir.file_name().to_str()?.parse().ok()?;
            let file = dir.path().join("bin").join(name);
            file.is_file().then_some((version, file))
        })
        .collect();
    found.sort();
    let packaged = found.pop().map(|(_, file)| file);
    packaged.or_else(|| on_path(name)).unwrap_or_else(|| {
        panic!("{name} of PostgreSQL is not here; install it with `{CURE}`, as root")
    })
}

/// What a server begins with, made once for all tests.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let initdb = program("initdb");
        let version = Command::new(&initdb).arg("--version").output().expect("it runs").stdout;
        let version =
            String::from_utf8_lossy(&version).replace(|c: char| !c.is_alphanumeric(), "-");
        ACCOUNT.template(&format!("template-{}", version.trim_end_matches('-')), |dir| {
            let mut command = Command::new(initdb);
            command.arg("-D").arg(dir.join("data")).args(["-U", RIG, "-A", "trust"]);
            command.args(["-E", "UTF8", "--locale=C", "--no-sync"]);
            command
        })
    })
}
