//! A PgBouncer of its own before a PostgreSQL.

use std::fs::{self, File};
use std::io;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

use super::child::Child;
use super::postgres::{ACCOUNT, Postgres, RIG, program};
use super::{PORTS_TRIED, free_port, on_path};
use crate::patience::{LIMIT, until};

const CURE: &str = "apt-get install -y --no-install-recommends pgbouncer";

/// It ends when the value is dropped.
pub struct PgBouncer {
    dir: TempDir,
    port: u16,
    child: Mutex<Option<Child>>,
}

impl PgBouncer {
    /// Before a server, in this mode: `transaction` or `session`. Of each user so many
    /// sessions are open on the server at most. The users of the rig are let in, and `ann`.
    pub fn before(server: &Postgres, mode: &str, sessions: usize) -> Self {
        for _ in 0..PORTS_TRIED {
            let dir = tempfile::tempdir().expect("a directory");
            let port = free_port();
            let settings = format!(
                "[databases]\n* = host=127.0.0.1 port={}\n\
                 [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
                 auth_type = trust\nauth_file = {}\nadmin_users = {RIG}\npool_mode = {mode}\n\
                 default_pool_size = {sessions}\nmax_client_conn = 400\nserver_login_retry = 0.2\n",
                server.port(),
                dir.path().join("users").display(),
            );
            let write = |name: &str, text: &str| fs::write(dir.path().join(name), text);
            write("users", &format!("\"{RIG}\" \"\"\n\"ann\" \"\"\n")).expect("our own directory");
            write("settings", &settings).expect("our own directory");
            ACCOUNT.give_away(dir.path());
            let pooler = Self { dir, port, child: Mutex::default() };
            if pooler.launch() {
                return pooler;
            }
        }
        panic!("PgBouncer found no port");
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where clients connect to the same as by this URL of the server.
    pub fn url(&self, server: &Postgres, url: &str) -> String {
        url.replace(&format!(":{}/", server.port()), &format!(":{}/", self.port))
    }

    /// Have the administrator's console do this.
    pub fn order(&self, order: &str) {
        self.psql("pgbouncer", order).unwrap_or_else(|e| panic!("{order}: {e}\n{}", self.log()));
    }

    /// What the server says to this on some session of the pool.
    pub fn sql(&self, sql: &str) -> String {
        self.psql("postgres", sql).unwrap_or_else(|e| panic!("{sql}: {e}\n{}", self.log()))
    }

    fn psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut psql = Command::new(program("psql"));
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", RIG]);
        psql.args(["-p", &self.port.to_string(), "-d", database, "-c", sql]);
        let output = psql.output().map_err(|e| e.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }

    /// End it by SIGKILL.
    pub fn kill(&self) {
        drop(self.child.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Start it again, after ending it if it still runs.
    pub fn restart(&self) {
        self.kill();
        let launched = until(LIMIT, || self.launch().then_some(()));
        assert!(launched.is_some(), "PgBouncer does not come back:\n{}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Whether it answers. It may have found its port taken.
    fn launch(&self) -> bool {
        let mut child = self.spawn().unwrap_or_else(|e| panic!("{e}; install it with `{CURE}`"));
        let ready = until(LIMIT, || match child.has_ended() {
            true => Some(false),
            false => self.psql("pgbouncer", "SHOW VERSION").is_ok().then_some(true),
        });
        let is_ready = ready == Some(true);
        if is_ready {
            *self.child.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        } else {
            let log = self.log();
            assert!(log.contains("in use"), "PgBouncer did not start:\n{log}");
        }
        is_ready
    }

    fn spawn(&self) -> io::Result<Child> {
        let log = File::options().create(true).append(true).open(self.dir.path().join("log"))?;
        let installed = on_path("pgbouncer").unwrap_or_else(|| "/usr/sbin/pgbouncer".into());
        let mut pooler = Command::new(installed);
        pooler.arg(self.dir.path().join("settings")).current_dir(self.dir.path());
        pooler.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        ACCOUNT.run_as(&mut pooler);
        Child::start(pooler)
    }
}
