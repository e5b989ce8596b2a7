//! An etcd cluster of three, and what goes wrong in it and between it and the workers.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::ways::{MEMBERS, Ways, mostly_short};
use super::{Counts, Failure, Ground, Weather, wait};
use crate::patience::{LIMIT, until};
use crate::servers::{Etcd, EtcdSettings};

/// The members, and the way that each worker has to each of them.
pub(super) struct Cluster {
    etcd: Etcd,
    ways: Ways,
    /// Whether leaders are frozen as well. One that goes on when another leads may
    /// end leases that were kept alive there meanwhile: etcd 3.5.30 does now and then.
    leaders_freeze: bool,
}

impl Cluster {
    /// With elections so fast that a lease outlives most of them, and others
    /// come while one is renewed.
    pub(super) fn start(leaders_freeze: bool) -> Self {
        let etcd = EtcdSettings::default().members(MEMBERS).fast_elections().start();
        let ways = Ways::to(|member| etcd.port(member));
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
        self.ways.urls("etcd")
    }

    fn weather<'a>(&'a self, _: &mut fastrand::Rng) -> Box<dyn Weather + 'a> {
        let list = self.etcd.ctl(&["member", "list"]);
        let mut ids: Vec<(String, String)> = list.lines().filter_map(named).collect();
        ids.sort();
        let ids = ids.into_iter().map(|(_, id)| id).collect();
        Box::new(ClusterWeather { cluster: self, ids, counts: Counts::new() })
    }

    fn pass_time(&self, ended: &AtomicBool) {
        self.ways.pass_time(ended);
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

struct ClusterWeather<'a> {
    cluster: &'a Cluster,
    /// By which members know each other.
    ids: Vec<String>,
    counts: Counts,
}

impl Weather for ClusterWeather<'_> {
    fn strike(&mut self, random: &mut fastrand::Rng) {
        let (cluster, mut also) = (self.cluster, None);
        let what = match random.u32(..8) {
            0..3 => {
                let span = mostly_short(random, 50..4000);
                cluster.ways.hinder(random, |_| wait(span))
            }
            3..6 => self.strike_members(random),
            _ => cluster.ways.hinder(random, |random| also = Some(self.strike_members(random))),
        };
        for what in also.into_iter().chain([what]) {
            *self.counts.entry(what).or_default() += 1;
        }
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl ClusterWeather<'_> {
    fn strike_members(&self, random: &mut fastrand::Rng) -> &'static str {
        let etcd = &self.cluster.etcd;
        let (leader, any) = (etcd.leader(), random.usize(..MEMBERS));
        let another = (leader + random.usize(1..MEMBERS)) % MEMBERS;
        match random.u32(..10) {
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
        }
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
        members.iter().for_each(|member| etcd.await_ready(*member));
    }

    /// Forget what has been up to now.
    fn compact(&self) {
        let etcd = &self.cluster.etcd;
        let status = etcd.ctl(&["get", "leasehold/", "-w", "fields"]);
        let revision = status.lines().find_map(|line| line.strip_prefix("\"Revision\" : "));
        etcd.ctl(&["compact", revision.expect("a revision")]);
    }
}
