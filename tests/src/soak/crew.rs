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
    /// Where the locks are.
    pub(super) url: &'a str,
    /// Where the registers are.
    pub(super) registers: &'a Path,
    children: Mutex<Vec<(usize, Child)>>,
    history: Mutex<History>,
}

impl<'a> Crew<'a> {
    pub(super) fn new(worker: &'a Path, url: &'a str, registers: &'a Path) -> Self {
        let (children, history) = (Mutex::default(), Mutex::default());
        Self { worker, url, registers, children, history }
    }

    pub(super) fn add<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let now = SystemClock.now().as_nanos();
        self.history.lock().expect("a history").started(number, now);
        let mut child = Command::new(self.worker)
            .args(["worker", self.url])
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
        self.children.lock().expect("a crew").push((number, child));
    }

    /// For long enough that a lease may end meanwhile.
    pub(super) fn pause_one(&self, random: &mut fastrand::Rng) {
        let children = self.children.lock().expect("a crew");
        let child = Pid::from_child(&children[random.usize(..children.len())].1);
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
        let child = {
            let mut children = self.children.lock().expect("a crew");
            let at = random.usize(..children.len());
            children.swap_remove(at)
        };
        self.kill(child);
        self.add(scope);
    }

    pub(super) fn dismiss(&self) {
        let children = std::mem::take(&mut *self.children.lock().expect("a crew"));
        children.into_iter().for_each(|child| self.kill(child));
    }

    pub(super) fn into_history(self) -> History {
        self.history.into_inner().expect("a history")
    }

    fn kill(&self, (number, mut child): (usize, Child)) {
        let now = SystemClock.now().as_nanos();
        drop(child.kill());
        drop(child.wait());
        self.history.lock().expect("a history").killed(number, now);
    }
}
