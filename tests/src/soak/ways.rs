//! The ways that workers have to the members of a cluster, and what goes wrong on them.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{WORKERS, wait};
use crate::proxy::Proxy;

pub(super) const MEMBERS: usize = 3;
const TICK: Duration = Duration::from_millis(20);
/// More than the margin for clocks that drift, of the longest ttl.
const SLOW: Duration = Duration::from_millis(150);

/// By worker, and by member.
pub(super) struct Ways(Vec<Vec<Proxy>>);

impl Ways {
    /// To the members that listen on these ports.
    pub(super) fn to(port: impl Fn(usize) -> u16) -> Self {
        let way = |member| Proxy::of_bytes(port(member));
        Self((0..WORKERS).map(|_| (0..MEMBERS).map(way).collect()).collect())
    }

    /// Where each worker finds the members.
    pub(super) fn urls(&self, scheme: &str) -> Vec<String> {
        let place = |proxy: &Proxy| format!("127.0.0.1:{}", proxy.port());
        let url = |ways: &Vec<Proxy>| ways.iter().map(place).collect::<Vec<_>>().join(",");
        self.0.iter().map(|ways| format!("{scheme}://{}", url(ways))).collect()
    }

    /// Answers slow down and come fast again within the life of a lease: who counts
    /// from an answer is wrong by that much.
    pub(super) fn pass_time(&self, ended: &AtomicBool) {
        for tick in 0.. {
            if ended.load(Ordering::SeqCst) {
                return;
            }
            for (number, ways) in self.0.iter().enumerate() {
                let tick = tick + 12 * number;
                if tick % 35 == 0 {
                    let delay = if tick % 70 == 0 { SLOW } else { Duration::ZERO };
                    ways.iter().for_each(|way| way.delay_replies(delay));
                }
            }
            wait(TICK);
        }
    }

    /// Some ways are as bad as they can be while something else is done; answers how.
    pub(super) fn hinder(
        &self,
        random: &mut fastrand::Rng,
        meanwhile: impl FnOnce(&mut fastrand::Rng),
    ) -> &'static str {
        let ways = self.some(random);
        let late = Duration::from_millis(random.u64(20..600));
        let kind = random.u32(..6);
        let set = |on: bool| {
            for way in &ways {
                match kind {
                    0 if on => way.cut(),
                    0 => {}
                    1 => {
                        way.refuse(on);
                        way.cut();
                    }
                    2 => way.stall_upstream(on),
                    3 => way.stall_downstream(on),
                    4 => {
                        way.stall_upstream(on);
                        way.stall_downstream(on);
                    }
                    _ => way.delay_commands(if on { late } else { Duration::ZERO }),
                }
            }
        };
        set(true);
        meanwhile(random);
        set(false);
        match kind {
            0 => "cut",
            1 => "refused",
            2 => "requests stalled",
            3 => "answers stalled",
            4 => "all stalled",
            _ => "requests delayed",
        }
    }

    /// Of one worker to all members, mostly.
    fn some(&self, random: &mut fastrand::Rng) -> Vec<&Proxy> {
        let (worker, member) = (random.usize(..WORKERS), random.usize(..MEMBERS));
        match random.u32(..4) {
            0 => vec![&self.0[worker][member]],
            1 => self.0.iter().map(|ways| &ways[member]).collect(),
            _ => self.0[worker].iter().collect(),
        }
    }
}

/// So many milliseconds, so that much happens in a run and now and then for long.
pub(super) fn mostly_short(random: &mut fastrand::Rng, span: Range<u64>) -> Duration {
    let longer = (span.end - span.start) as f64 * random.f64().powi(2);
    Duration::from_millis(span.start + longer as u64)
}
