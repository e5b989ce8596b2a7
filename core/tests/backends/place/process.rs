//! A client in a process of its own, which may see the machine in another way:
//! this test binary, started again for the one test `sqlite_world::process`.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use leasehold::{Lease, connect};

use super::{soon, take, until, url};

const DATABASE: &str = "LEASEHOLD_TEST_DATABASE";

pub(crate) struct Process {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Process {
    /// Start a client of `database`; `wrap` is what comes before its command
    /// line, such as `unshare --mount`. The second value is what came of its connect.
    pub(crate) fn start(wrap: &[&str], database: &Path) -> (Self, String) {
        let this = std::env::current_exe().expect("this program");
        let this = this.to_str().expect("text");
        let words = ["--exact", "sqlite_world::process", "--ignored", "--nocapture", "-q"];
        let line = [wrap, &[this], &words].concat();
        let mut child = Command::new(line[0])
            .args(&line[1..])
            .env(DATABASE, database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let orders = child.stdin.take().expect("its input");
        let answers = BufReader::new(child.stdout.take().expect("its output"));
        let mut process = Self { child, orders, answers };
        let connected = process.answer();
        (process, connected)
    }

    /// `take NAME`, `renew NAME`, `lost NAME`.
    pub(crate) fn ask(&mut self, order: &str) -> String {
        writeln!(self.orders, "{order}").expect("it lives");
        self.answer()
    }

    fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            let length = self.answers.read_line(&mut line).expect("its output");
            assert!(length > 0, "it ended without an answer");
            // The test harness writes lines of its own.
            if let Some((_, answer)) = line.split_once("answer: ") {
                return answer.trim_end().to_owned();
            }
        }
    }

    /// Stop it, and wait until all its threads have stopped.
    pub(crate) async fn stop(&self) {
        self.signal("-STOP");
        let tasks = format!("/proc/{}/task", self.child.id());
        let is_stopped = |task: std::io::Result<std::fs::DirEntry>| {
            let stat = task.and_then(|task| std::fs::read_to_string(task.path().join("stat")));
            stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, s)| s.starts_with('T')))
        };
        until("the process has stopped", async || {
            std::fs::read_dir(&tasks).is_ok_and(|mut tasks| tasks.all(is_stopped))
        })
        .await;
    }

    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("a signal").success());
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("its end");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What the started process does.
pub(crate) async fn serve() {
    let Some(database) = std::env::var_os(DATABASE).map(PathBuf::from) else { return };
    // A list comes after what a client that has come does in the background, so
    // that nothing of it is under way when the process is killed or stopped.
    let connected = async {
        let client = connect(&url(&database)).await?;
        client.list().await.map(|_| client)
    };
    let client = match connected.await {
        Ok(client) => client,
        Err(e) => return say(format!("{}: {e}", e.code())),
    };
    say("connected".into());
    let mut leases: Vec<(String, Lease)> = Vec::new();
    for order in std::io::stdin().lines() {
        let order = order.expect("text");
        let (order, name) = order.split_once(' ').expect("two words");
        let held = leases.iter().find(|(held, _)| held == name).map(|(_, lease)| lease);
        let answer = match (order, held) {
            ("take", _) => match client.lock(name).ttl(super::HOUR).try_acquire().await {
                Ok(Some(lease)) => {
                    let fence = lease.fence();
                    leases.push((name.to_owned(), lease));
                    format!("fence {fence}")
                }
                Ok(None) => "busy".into(),
                Err(e) => format!("{}: {e}", e.code()),
            },
            ("wait", _) => {
                let lease = take(&client, name).await;
                let fence = lease.fence();
                leases.push((name.to_owned(), lease));
                format!("fence {fence}")
            }
            ("renew", Some(lease)) => match lease.renew().await {
                Ok(()) => "renewed".into(),
                Err(e) => format!("{}: {e}", e.code()),
            },
            ("lost", Some(lease)) => {
                format!("{:?}", soon("the loss", lease.lost()).await)
            }
            order => panic!("no such order: {order:?}"),
        };
        say(answer);
    }
}

fn say(answer: String) {
    println!("answer: {}", answer.replace('\n', " "));
}
