//! What tests change while connections run.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::fault::{Applied, Fault, Gate};
use super::link::{Link, Protocol};
use crate::patience::now;

/// The two halves of a connection.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    /// To the server.
    Up = 0,
    /// To the client.
    Down = 1,
}

pub(super) type Matching = Box<dyn Fn(&[Vec<u8>]) -> bool + Send>;

struct Planned {
    matching: Matching,
    fault: Fault,
    applied: Applied,
}

#[derive(Default)]
pub(super) struct Controls {
    /// The port of the server that new connections lead to.
    pub(super) server: u16,
    pub(super) closed: bool,
    pub(super) refuse: bool,
    /// How long a server is waited for that does not listen.
    pub(super) patience: Duration,
    pub(super) drop_pushes: bool,
    pub(super) stalled: [bool; 2],
    pub(super) delay: [Duration; 2],
    pub(super) connections: usize,
    pub(super) commands: u64,
    links: Vec<Weak<Link>>,
    gates: Vec<Gate>,
    planned: Vec<Planned>,
}

/// One per proxy.
pub(super) struct Shared {
    pub(super) protocol: &'static Protocol,
    controls: Mutex<Controls>,
    changed: Condvar,
}

impl Shared {
    pub(super) fn new(server: u16, protocol: &'static Protocol) -> Self {
        let controls = Mutex::new(Controls { server, ..Controls::default() });
        Self { protocol, controls, changed: Condvar::new() }
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&Controls) -> T) -> T {
        look(&self.lock())
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Controls)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    pub(super) fn plan(&self, matching: Matching, fault: Fault, applied: Applied) {
        self.change(|controls| {
            if let Fault::Late(gate) = &fault {
                controls.gates.push(gate.clone());
            }
            controls.planned.push(Planned { matching, fault, applied });
        });
    }

    /// Count a command, and take out what was planned for it.
    pub(super) fn meet(&self, command: &[Vec<u8>]) -> Option<(Fault, Applied)> {
        let mut controls = self.lock();
        controls.commands += 1;
        let at = controls.planned.iter().position(|planned| (planned.matching)(command))?;
        let planned = controls.planned.remove(at);
        Some((planned.fault, planned.applied))
    }

    pub(super) fn register(&self, link: &Arc<Link>) {
        self.change(|controls| {
            controls.connections += 1;
            controls.links.retain(|link| link.strong_count() > 0);
            controls.links.push(Arc::downgrade(link));
        });
    }

    pub(super) fn cut(&self) {
        self.change(|controls| {
            let links = controls.links.iter().filter_map(Weak::upgrade);
            links.filter(|link| !link.is_detached()).for_each(|link| link.sever());
        });
    }

    /// End everything.
    pub(super) fn close(&self) {
        self.change(|controls| {
            controls.closed = true;
            controls.gates.iter().for_each(Gate::abandon);
            controls.links.iter().filter_map(Weak::upgrade).for_each(|link| link.sever());
        });
    }

    /// When something that comes now arrives.
    pub(super) fn due(&self, direction: Direction) -> Instant {
        now() + self.look(|controls| controls.delay[direction as usize])
    }

    /// Keep something until it is due and its direction is open; false if its
    /// connection is cut meanwhile.
    pub(super) fn hold(&self, direction: Direction, due: Instant, link: &Link) -> bool {
        let mut controls = self.lock();
        while !link.is_severed() {
            let left = due.saturating_duration_since(now());
            controls = if controls.stalled[direction as usize] {
                self.changed.wait(controls).unwrap_or_else(PoisonError::into_inner)
            } else if left.is_zero() {
                return true;
            } else {
                let waited = self.changed.wait_timeout(controls, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            };
        }
        false
    }

    fn lock(&self) -> MutexGuard<'_, Controls> {
        // A test's own match may panic; the test is to see that and not this.
        self.controls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
