//! How bad things are, and what has gone wrong so far.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::ledger::Ledger;
use crate::world::{Machine, TrueClock};

/// What can go wrong.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Delay,
    RequestLost,
    ReplyLost,
    Duplicate,
    WakeLost,
    Refused,
    Partition,
    Pause,
    Restart,
    DataLost,
    WallStep,
    WallJump,
    Election,
    Compaction,
    Misled,
    Cancelled,
}

const FAULTS: [Fault; 16] = {
    use Fault::*;
    [
        Delay,
        RequestLost,
        ReplyLost,
        Duplicate,
        WakeLost,
        Refused,
        Partition,
        Pause,
        Restart,
        DataLost,
        WallStep,
        WallJump,
        Election,
        Compaction,
        Misled,
        Cancelled,
    ]
};

/// What tasks did, or were told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Use {
    Alone,
    Shared,
    Counted,
    OtherPermits,
    Together,
    Once,
    Skipped,
    Posted,
    Adopted,
    Led,
    Named,
    Observed,
}

const USES: [Use; 12] = {
    use Use::*;
    [
        Alone,
        Shared,
        Counted,
        OtherPermits,
        Together,
        Once,
        Skipped,
        Posted,
        Adopted,
        Led,
        Named,
        Observed,
    ]
};

/// How often each thing went wrong, and each kind of lock was used, over all seeds.
#[derive(Debug, Default)]
pub struct Faults {
    faults: [AtomicU64; FAULTS.len()],
    uses: [AtomicU64; USES.len()],
}

/// How often something was, by its name.
type Counted = Vec<(String, u64)>;

impl Faults {
    /// All kinds of faults.
    pub fn counts(&self) -> Counted {
        let read = |fault| self.faults[fault as usize].load(Ordering::Relaxed);
        FAULTS.map(|fault| (format!("{fault:?}"), read(fault))).into()
    }

    /// All kinds of locks, and what was done with them.
    pub fn uses(&self) -> Counted {
        let read = |used| self.uses[used as usize].load(Ordering::Relaxed);
        USES.map(|used| (format!("{used:?}"), read(used))).into()
    }

    pub(super) fn count(&self, fault: Fault) {
        self.faults[fault as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn used(&self, used: Use) {
        self.uses[used as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// What all connections of one history share.
pub(super) struct Weather {
    pub(super) truth: TrueClock,
    pub(super) faults: Arc<Faults>,
    pub(super) ledger: Arc<Ledger>,
    random: Mutex<fastrand::Rng>,
    /// Nothing goes wrong, and every message takes a millisecond.
    calm: AtomicBool,
}

impl Weather {
    pub(super) fn new(
        truth: TrueClock,
        faults: Arc<Faults>,
        ledger: Arc<Ledger>,
        seed: u64,
    ) -> Arc<Self> {
        let random = Mutex::new(fastrand::Rng::with_seed(seed));
        Arc::new(Self { truth, faults, ledger, random, calm: AtomicBool::new(false) })
    }

    pub(super) fn calm_down(&self) {
        self.calm.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::SeqCst)
    }

    pub(super) fn chance(&self, percent: u32) -> bool {
        !self.is_calm() && self.roll(100) < percent
    }

    pub(super) fn roll(&self, below: u32) -> u32 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).u32(..below)
    }

    /// How long a message is on its way.
    pub(super) fn way(&self) -> Duration {
        let millis = if self.chance(8) {
            self.faults.count(Fault::Delay);
            self.roll(2500)
        } else if self.is_calm() {
            1
        } else {
            self.roll(20)
        };
        Duration::from_millis(millis.into())
    }

    /// Stop a process for a while, as SIGSTOP and SIGCONT do.
    pub(super) async fn pause(&self, machine: Arc<Machine>, pause: Duration) {
        self.faults.count(Fault::Pause);
        machine.stop();
        self.truth.sleep(pause).await;
        machine.go_on();
    }
}
