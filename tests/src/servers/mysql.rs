//! A MariaDB of its own for each test that needs one.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::{fs, io};

use tempfile::TempDir;

use super::child::Child;
use super::clock::Clock;
use super::database::{Account, DONE, Talk};
use super::{PORTS_TRIED, free_port, on_path, run, tls};
use crate::patience::{LIMIT, until};

/// As whom the rig looks into a server. It may do everything.
const RIG: &str = "rig";

const CURE: &str = "apt-get install -y --no-install-recommends mariadb-server mariadb-client";
const ACCOUNT: Account = Account { user: "mysql", cure: CURE };

/// What is small, and not on the disk before it is answered, so that tests are fast.
const SMALL: [&str; 9] = [
    "--innodb-log-file-size=4M",
    "--innodb-buffer-pool-size=16M",
    "--innodb-flush-method=nosync",
    "--key-buffer-size=64K",
    "--aria-pagecache-buffer-size=1M",
    "--performance-schema=OFF",
    "--skip-name-resolve",
    "--max-connections=400",
    "--log-warnings=2",
];

/// A server to be started.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct MysqlSettings {
    options: Vec<String>,
    tls: bool,
    shifted_clock: bool,
}

impl MysqlSettings {
    /// An option of the server's command line.
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// Offer TLS, with a certificate for `localhost` and `127.0.0.1`.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Have a wall clock that [`Mysql::shift_clock`] moves.
    pub fn shifted_clock(mut self) -> Self {
        self.shifted_clock = true;
        self
    }

    /// Start it and wait until it answers.
    pub fn start(self) -> Mysql {
        for _ in 0..PORTS_TRIED {
            let server = Mysql::set_up(&self, free_port());
            if server.launch() {
                return server;
            }
        }
        panic!("MariaDB found no port");
    }
}

/// It ends, and what it stored is gone, when the value is dropped.
pub struct Mysql {
    dir: TempDir,
    port: u16,
    options: Vec<String>,
    clock: Option<Clock>,
    child: Mutex<Option<Child>>,
}

impl Mysql {
    fn set_up(settings: &MysqlSettings, port: u16) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        run(Command::new("cp").arg("-a").arg(template()).arg(dir.path().join("data")), "cp");
        let mut options = Vec::new();
        if settings.tls {
            tls::certify_with_client(dir.path());
            for (option, file) in
                [("ssl-cert", tls::CERTIFICATE), ("ssl-key", tls::KEY), ("ssl-ca", tls::AUTHORITY)]
            {
                options.push(format!("--{option}={}", dir.path().join(file).display()));
            }
        }
        // Last, so that the test has the last word.
        options.extend(settings.options.iter().cloned());
        let first = format!(
            "CREATE USER IF NOT EXISTS {RIG}@'%';\nGRANT ALL ON *.* TO {RIG}@'%' WITH GRANT OPTION;\n\
             DROP USER IF EXISTS ''@'localhost';\nCREATE DATABASE IF NOT EXISTS jobs;\n"
        );
        fs::write(dir.path().join("first.sql"), first).expect("our own directory");
        let clock = settings.shifted_clock.then(|| Clock::build(dir.path()));
        ACCOUNT.give_away(dir.path());
        Self { dir, port, options, clock, child: Mutex::new(None) }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// The certificate of the authority that signed the server's.
    pub fn ca_path(&self) -> PathBuf {
        self.dir.path().join(tls::AUTHORITY)
    }

    /// Where clients connect, without encryption, as one who may do everything.
    pub fn url(&self) -> String {
        self.url_as(RIG)
    }

    /// The same as a user, who may have a password: `ann:secret`.
    pub fn url_as(&self, user: &str) -> String {
        format!("mysql://{user}@127.0.0.1:{}/jobs?sslmode=disable", self.port)
    }

    /// Have it do this, and answer what it says: a row each line, columns with a tab between.
    pub fn sql(&self, sql: &str) -> String {
        self.try_sql(sql).unwrap_or_else(|e| panic!("{sql}: {e}\n{}", self.log()))
    }

    /// The same, or why it does not.
    pub fn try_sql(&self, sql: &str) -> Result<String, String> {
        let mut client = self.client();
        client.args(["-e", sql]);
        ACCOUNT.answer(client)
    }

    fn client(&self) -> Command {
        let mut client = Command::new(program("mariadb"));
        client.args(["--no-defaults", "-N", "-B", "-r", "-u", RIG, "-D", "jobs", "-S"]);
        client.arg(self.socket());
        client
    }

    /// A session of the rig that stays, for transactions.
    pub fn talk(&self) -> Talk {
        let mut client = self.client();
        client.args(["-n", "-f"]);
        Talk::with(client, format!("SELECT '{DONE}';"))
    }

    /// Everything that it has printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// End it by SIGKILL.
    pub fn kill(&self) {
        drop(self.child().take());
    }

    /// Start it again with what it stored, after ending it if it still runs.
    pub fn restart(&self) {
        self.kill();
        let launched = until(LIMIT, || self.launch().then_some(()));
        assert!(launched.is_some(), "MariaDB does not come back:\n{}", self.log());
    }

    /// Stop all that it does by SIGSTOP: connections stay open, and nothing is done.
    pub fn freeze(&self) {
        self.child().as_ref().expect("a server that runs").freeze();
    }

    /// Let it go on with what has come meanwhile.
    pub fn thaw(&self) {
        self.child().as_ref().expect("a server that runs").thaw();
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
            false => self.try_sql("SELECT 1").is_ok().then_some(true),
        });
        let is_ready = ready == Some(true);
        if is_ready {
            *self.child() = Some(child);
        } else {
            let log = self.log();
            let is_taken = log.contains("in use") || log.contains("Unable to lock");
            assert!(is_taken, "MariaDB did not start:\n{log}");
        }
        is_ready
    }

    fn spawn(&self) -> io::Result<Child> {
        let log = File::options().create(true).append(true).open(self.dir.path().join("log"))?;
        let mut server = Command::new(program("mariadbd"));
        server.arg("--no-defaults").args(SMALL).current_dir(self.dir.path());
        server.args([&format!("--port={}", self.port), "--bind-address=127.0.0.1"]);
        for (option, file) in [
            ("datadir", "data"),
            ("socket", "socket"),
            ("init-file", "first.sql"),
            ("pid-file", "pid"),
        ] {
            server.arg(format!("--{option}={}", self.dir.path().join(file).display()));
        }
        // Whatever is temporary there, each deletes when it starts: also what another one uses.
        server.arg(format!("--tmpdir={}", self.dir.path().display()));
        server.args(&self.options);
        server.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        if let Some(clock) = &self.clock {
            clock.set_for(&mut server);
        }
        ACCOUNT.run_as(&mut server);
        Child::start(server)
    }
}

/// Its package keeps the server off the PATH of some users.
fn program(name: &str) -> PathBuf {
    let beside = Path::new("/usr/sbin").join(name);
    on_path(name).or_else(|| beside.is_file().then_some(beside)).unwrap_or_else(|| {
        panic!("{name} of MariaDB is not here; install it with `{CURE}`, as root")
    })
}

/// What a server begins with, made once for all tests.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let version = Command::new(program("mariadbd")).arg("--version").output();
        let version = String::from_utf8(version.expect("it runs").stdout).expect("a version");
        let version = version.split_whitespace().nth(2).expect("a version").to_owned();
        ACCOUNT.template(&format!("template-mariadb-{version}"), |dir| {
            let mut command = Command::new(program("mariadb-install-db"));
            command.args(["--no-defaults", "--auth-root-authentication-method=normal"]);
            command.arg("--skip-test-db").arg("--innodb-log-file-size=4M");
            command.arg(format!("--datadir={}", dir.join("data").display()));
            command
        })
    })
}
