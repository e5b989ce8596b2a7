//! A ZooKeeper ensemble of three, and what goes wrong in it and between it and the workers.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::ways::{MEMBERS, Ways, mostly_short};
use super::{Counts, Failure, Ground, Weather, wait};
use crate::patience::{LIMIT, until};
use crate::servers::{ZkClient, ZooKeeper, ZooKeeperSettings};

/// Where its locks are.
const BASE: &str = "/leasehold";

/// The members, and the way that each worker has to each of them.
pub(super) struct Ensemble {
    servers: ZooKeeper,
    ways: Ways,
}

impl Ensemble {
    /// A follower that hears nothing of its leader goes on serving for longer than most
    /// sessions last.
    pub(super) fn start() -> Self {
        let servers = ZooKeeperSettings::default().members(MEMBERS).sync_limit(12).start();
        let ways = Ways::to(|member| servers.port(member));
        Self { servers, ways }
    }

    /// The nodes of those who hold or wait, and the session that each lives with.
    fn standers(&self) -> Vec<(String, i64)> {
        let list = || {
            let mut client = self.servers.client();
            client.sync().ok()?;
            let below = client.below(BASE).ok()?;
            let mut standers = Vec::new();
            for path in below.into_iter().filter(|path| path[BASE.len() + 1..].contains('/')) {
                standers.extend(client.get(&path).ok()?.map(|node| (path, node.owner)));
            }
            Some(standers)
        };
        until(LIMIT, list).expect("a member that answers")
    }
}

impl Ground for Ensemble {
    fn urls(&self) -> Vec<String> {
        self.ways.urls("zookeeper")
    }

    fn weather<'a>(&'a self, _: &mut fastrand::Rng) -> Box<dyn Weather + 'a> {
        Box::new(EnsembleWeather { ensemble: self, counts: Counts::new() })
    }

    fn pass_time(&self, ended: &AtomicBool) {
        self.ways.pass_time(ended);
    }

    fn nothing_stays(&self) -> Result<(), Failure> {
        let stays = |standers: &[(String, i64)]| {
            standers.iter().find(|(_, owner)| *owner == 0).map(|(path, _)| path.clone())
        };
        if let Some(path) = stays(&self.standers()) {
            return Err(format!("the node {path} would stay for ever").into());
        }
        match until(LIMIT, || self.standers().is_empty().then_some(())) {
            Some(()) => Ok(()),
            None => Err(format!("somebody is still in line: {:?}", self.standers()).into()),
        }
    }
}

struct EnsembleWeather<'a> {
    ensemble: &'a Ensemble,
    counts: Counts,
}

impl Weather for EnsembleWeather<'_> {
    fn strike(&mut self, random: &mut fastrand::Rng) {
        let (ensemble, mut also) = (self.ensemble, None);
        let what = match random.u32(..8) {
            0..4 => {
                let span = mostly_short(random, 50..2000);
                ensemble.ways.hinder(random, |_| wait(span))
            }
            4..7 => ensemble.strike_members(random),
            _ => {
                ensemble.ways.hinder(random, |random| also = Some(ensemble.strike_members(random)))
            }
        };
        for what in also.into_iter().chain([what]) {
            *self.counts.entry(what).or_default() += 1;
        }
    }

    fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl Ensemble {
    fn strike_members(&self, random: &mut fastrand::Rng) -> &'static str {
        let servers = &self.servers;
        let (leader, any) = (servers.leader(), random.usize(..MEMBERS));
        let follower = (leader + random.usize(1..MEMBERS)) % MEMBERS;
        match random.u32(..13) {
            kind @ 0..3 => {
                let (member, what) = match kind {
                    0 => (any, "member killed"),
                    _ => (leader, "leader killed"),
                };
                servers.kill(member);
                wait(Duration::from_millis(random.u64(5..1000)));
                servers.restart(member);
                what
            }
            kind @ 3..6 => {
                let (member, what) = match kind {
                    3 => (leader, "leader frozen"),
                    _ => (follower, "follower frozen"),
                };
                servers.freeze(member);
                wait(mostly_short(random, 300..4000));
                servers.thaw(member);
                what
            }
            6..9 => {
                servers.part(follower);
                wait(mostly_short(random, 300..4000));
                servers.join(follower);
                "follower parted"
            }
            9 => {
                self.kill_majority(random);
                "majority killed"
            }
            10 => {
                servers.depose(leader);
                wait(mostly_short(random, 300..4000));
                servers.pardon(leader);
                servers.await_ready(leader);
                "leader deposed"
            }
            _ => {
                // Its client takes it back. It may be over by now.
                let Some((_, session)) = random.choice(self.standers()) else { return "nothing" };
                match ZkClient::take_over(servers.port(any), session) {
                    Ok(thief) => thief.forget(),
                    Err(_) => return "nothing",
                }
                "session moved"
            }
        }
    }

    /// Two, or all.
    fn kill_majority(&self, random: &mut fastrand::Rng) {
        let mut members: Vec<usize> = (0..MEMBERS).collect();
        random.shuffle(&mut members);
        members.truncate(random.usize(2..=MEMBERS));
        members.iter().for_each(|member| self.servers.kill(*member));
        wait(mostly_short(random, 200..3000));
        members.iter().for_each(|member| self.servers.revive(*member));
        members.iter().for_each(|member| self.servers.await_ready(*member));
    }
}
