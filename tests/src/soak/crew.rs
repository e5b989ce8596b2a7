//! The processes that work, and what they say.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Scope;
use std::time::Duration;

use leasehold::time::{Clock, SystemClock};
use rustix::process::{Pid, Signal, kill_process};

use super::history::History;
use super::wait;

pub(super) struct Crew<'a> {
    /// The program that calls [`work`](super::work).
    pub(super) worker: &'a Path,
    /// Where the locks are: each of the crew has a way of its own.
    pub(super) urls: &'a [String],
    /// Where the registers are.
    pub(super) registers: &'a Path,
    children: Mutex<Vec<Worker>>,
    history: Mutex<History>,
}

struct Worker {
    number: usize,
    /// Which way it has.
    seat: usize,
    child: Child,
}

impl<'a> Crew<'a> {
    pub(super) fn new(worker: &'a Path, urls: &'a [String], registers: &'a Path) -> Self {
        let (children, history) = (Mutex::default(), Mutex::default());
        Self { worker, urls, registers, children, history }
    }

    /// One for each way.
    pub(super) fn hire<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        (0..self.urls.len()).for_each(|seat| self.add(seat, scope));
    }

    fn add<'scope>(&'scope self, seat: usize, scope: &'scope Scope<'scope, '_>) {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let now = SystemClock.now().as_nanos();
        self.history.lock().expect("a history").started(number, now);
        let mut child = Command::new(self.worker)
            .args(["worker", &self.urls[seat]])
            .arg(self.registers)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a worker");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        scope.spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                self.history.lock().expect("a history").read(number, &line);
            }
        });
        self.children.lock().expect("a crew").push(Worker { number, seat, child });
    }

    /// For long enough that a lease may end meanwhile.
    pub(super) fn pause_one(&self, random: &mut fastrand::Rng) {
        let children = self.children.lock().expect("a crew");
        let child = Pid::from_child(&children[random.usize(..children.len())].child);
        // It may have ended by an error of its own, which the history tells.
        let _ = kill_process(child, Signal::STOP);
        wait(Duration::from_millis(random.u64(10..2500)));
        let _ = kill_process(child, Signal::CONT);
    }

    pub(super) fn replace_one<'scope>(
        &'scope self,
        random: &mut fastrand::Rng,
        scope: &'scope Scope<'scope, '_>,
    ) {
        let gone = {
            let mut children = self.children.lock().expect("a crew");
            let at = random.usize(..children.len());
            children.swap_remove(at)
        };
        self.add(self.kill(gone), scope);
    }

    pub(super) fn dismiss(&self) {
        let children = std::mem::take(&mut *self.children.lock().expect("a crew"));
        for child in children {
            self.kill(child);
        }
    }

    pub(super) fn into_history(self) -> History {
        self.history.into_inner().expect("a history")
    }

    /// Answers whose way is free now.
    fn kill(&self, Worker { number, seat, mut child }: Worker) -> usize {
        let now = SystemClock.now().as_nanos();
        if let Ok(Some(status)) = child.try_wait() {
            let ended = format!("nothing any more: {status}");
            self.history.lock().expect("a history").read(number, &ended);
        }
        drop(child.kill());
        drop(child.wait());
        self.history.lock().expect("a history").killed(number, now);
        seat
    }
}
