//! An etcd cluster of three, and what goes wrong in it and between it and the workers.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Counts, Failure, Ground, WORKERS, Weather, wait};
use crate::patience::{LIMIT, until};
use crate::proxy::Proxy;
use crate::servers::{Etcd, EtcdSettings};

const MEMBERS: usize = 3;
const TICK: Duration = Duration::from_millis(20);
/// More than the margin for clocks that drift, of the longest ttl.
const SLOW: Duration = Duration::from_millis(150);

/// The members, and the way that each worker has to each of them.
pub(super) struct Cluster {
    etcd: Etcd,
    /// By worker, and by member.
    ways: Vec<Vec<Proxy>>,
    /// Whether leaders are frozen as well. One that goes on when another leads may
    /// end leases that were kept alive there meanwhile: etcd 3.5.30 does now and then.
    leaders_freeze: bool,
}

impl Cluster {
    /// With elections so fast that a lease outlives most of them, and others
    /// come while one is renewed.
    pub(super) fn start(leaders_freeze: bool) -> Self {
        let etcd = EtcdSettings::default().members(MEMBERS).fast_elections().start();
        let way = |member| Proxy::of_bytes(etcd.port(member));
        let ways = (0..WORKERS).map(|_| (0..MEMBERS).map(way).collect()).collect();
        Self { etcd, ways, leaders_freeze }
    }

    /// The keys that exist, and the etcd lease that each lives with.
    fn keys(&self) -> BTreeMap<String, String> {
        let said = self.etcd.ctl(&["get", "--prefix", "leasehold/", "-w", "fields"]);
        let field = |name| {
            let begin = format!("\"{name}\" : ");
            said.lines().filter_map(move |line| Some(line.strip_prefix(&begin)?.to_owned()))
        };
        field("Key").zip(field("Lease")).collect()
    }
}

impl Ground for Cluster {
    fn urls(&self) -> Vec<String> {
        let place = |proxy: &Proxy| format!("127.0.0.1:{}", proxy.port());
        let url = |ways: &Vec<Proxy>| ways.iter().map(place).collect::<Vec<_>>().join(",");
        self.ways.iter().map(|ways| format!("etcd://{}", url(ways))).collect()
    }

    fn weather<'a>(&'a self, _: &mut fastrand::Rng) -> Box<dyn Weather + 'a> {
        let list = self.etcd.ctl(&["member", "list"]);
        let mut ids: Vec<(String, String)> = list.lines().filter_map(named).collect();
        ids.sort();
        let ids = ids.into_iter().map(|(_, id)| id).collect();
        Box::new(ClusterWeather { cluster: self, ids, counts: Counts::new() })
    }

    /// Answers slow down and come fast again within the life of a lease: who counts
    /// from an answer is wrong by that much.
    fn pass_time(&self, ended: &AtomicBool) {
        for tick in 0.. {
            if ended.load(Ordering::SeqCst) {
                return;
            }
            for (number, ways) in self.ways.iter().enumerate() {
                let tick = tick + 12 * number;
                if tick % 35 == 0 {
                    let delay = if tick % 70 == 0 { SLOW } else { Duration::ZERO };
                    ways.iter().for_each(|way| way.delay_replies(delay));
                }
            }
            wait(TICK);
        }
    }

    fn nothing_stays(&self) -> Result<(), Failure> {
        let stays = || self.keys().into_iter().find(|(_, lease)| lease == "0");
        if let Some((key, _)) = stays() {
            return Err(format!("the key {key} would stay for ever").into());
        }
        // What keeps late claims out stays for an hour.
        let in_line = || self.keys().into_keys().find(|key| key.contains("/#"));
        match until(LIMIT, || in_line().is_none().then_some(())) {
            Some(()) => Ok(()),
            None => Err(format!("somebody is still in line: {:?}", in_line()).into()),
        }
    }
}

/// The name of a member, and its id, in a line of `ID, started, NAME, …`.
fn named(line: &str) -> Option<(String, String)> {
    let mut words = line.split(", ");
    let id = words.next()?.to_owned();
    Some((words.nth(1)?.to_owned(), id))
}

/// So many milliseconds, so that much happens in a run and now and then for long.
fn mostly_short(random: &mut fastrand::Rng, span: Range<u64>) -> Duration {
    let longer = (span.end - span.start) as f64 * random.f64().powi(2);
    Duration::from_millis(span.start + longer as u64)
}

struct ClusterWeather<'a> {
    cluster: &'a Cluster,
    /// By which members know each other.
    ids: Vec<String>,
    counts: Counts,
}

impl Weather for ClusterWeather<'_> {
    fn strike(&mut self, random: &mut fastrand::Rng) {
        match random.u32(..8) {
            0..3 => {
                let span = mostly_short(random, 50..4000);
                self.hinder(random, |_, _| wait(span));
            }
            3..6 => self.strike_members(random),
            _ => self.hinder(random, Self::strike_members),
        }
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl<'a> ClusterWeather<'a> {
    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Some ways are as bad as they can be while something else is done.
    fn hinder(
        &mut self,
        random: &mut fastrand::Rng,
        meanwhile: impl FnOnce(&mut Self, &mut fastrand::Rng),
    ) {
        let ways = self.some_ways(random);
        let late = Duration::from_millis(random.u64(20..600));
        let kind = random.u32(..6);
        let what = match kind {
            0 => "cut",
            1 => "refused",
            2 => "requests stalled",
            3 => "answers stalled",
            4 => "all stalled",
            _ => "requests delayed",
        };
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
        meanwhile(self, random);
        set(false);
        self.count(what);
    }

    /// Of one worker to all members, mostly.
    fn some_ways(&self, random: &mut fastrand::Rng) -> Vec<&'a Proxy> {
        let ways = &self.cluster.ways;
        let (worker, member) = (random.usize(..WORKERS), random.usize(..MEMBERS));
        match random.u32(..4) {
            0 => vec![&ways[worker][member]],
            1 => ways.iter().map(|ways| &ways[member]).collect(),
            _ => ways[worker].iter().collect(),
        }
    }

    fn strike_members(&mut self, random: &mut fastrand::Rng) {
        let etcd = &self.cluster.etcd;
        let (leader, any) = (etcd.leader(), random.usize(..MEMBERS));
        let another = (leader + random.usize(1..MEMBERS)) % MEMBERS;
        let what = match random.u32(..10) {
            kind @ 0..3 => {
                let (member, what) = match kind {
                    0 => (any, "member killed"),
                    _ => (leader, "leader killed"),
                };
                etcd.kill(member);
                wait(Duration::from_millis(random.u64(5..2000)));
                etcd.restart(member);
                what
            }
            kind @ 3..6 => {
                let (member, what) = match kind > 3 && self.cluster.leaders_freeze {
                    true => (leader, "leader frozen"),
                    false => (another, "follower frozen"),
                };
                etcd.freeze(member);
                wait(mostly_short(random, 1000..6000));
                etcd.thaw(member);
                what
            }
            6 => {
                self.kill_majority(random);
                "majority killed"
            }
            7 | 8 => {
                // It may have died of what was mended just now; then nothing is moved.
                drop(etcd.try_ctl(&["move-leader", &self.ids[another]]));
                "leader moved"
            }
            _ => {
                self.compact();
                "compacted"
            }
        };
        self.count(what);
    }

    /// Two, or all.
    fn kill_majority(&self, random: &mut fastrand::Rng) {
        let etcd = &self.cluster.etcd;
        let mut members: Vec<usize> = (0..MEMBERS).collect();
        random.shuffle(&mut members);
        members.truncate(random.usize(2..=MEMBERS));
        members.iter().for_each(|member| etcd.kill(*member));
        wait(mostly_short(random, 1000..8000));
        members.iter().for_each(|member| etcd.revive(*member));
        members.iter().for_each(|member| etcd.await_health(*member));
    }

    /// Forget what has been up to now.
    fn compact(&self) {
        let etcd = &self.cluster.etcd;
        let status = etcd.ctl(&["get", "leasehold/", "-w", "fields"]);
        let revision = status.lines().find_map(|line| line.strip_prefix("\"Revision\" : "));
        etcd.ctl(&["compact", revision.expect("a revision")]);
    }
}
