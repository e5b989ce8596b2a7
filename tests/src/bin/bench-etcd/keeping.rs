//! 3: a thousand locks of one client are kept, beside a thousand etcd leases that
//! are kept alive one by one.

use std::time::Duration;

use etcd_client::{LeaseKeepAliveStream, LeaseKeeper};
use leasehold::Lease;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use crate::Failure;
use crate::clock::{now, pause, pause_until};
use crate::contender::{TTL, create, plain};
use crate::report::{Goal, Line, Report, Target, Unit};
use crate::rig::{Calls, Rig, Setup};

const LOCKS: usize = 1000;
const TICKS: u32 = 6;

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    report.section("3. 1000 locks of one client with a ttl of 10 s for 20 s; a lease for each");
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    for setup in [Setup { members: 1, fsync: false }, Setup { members: 3, fsync: true }] {
        report.section(&format!("  {setup}"));
        // The idle one shows what a cluster uses anyway.
        let (rig, idle) = (setup.start(), setup.start());
        // One after the other, because they share the process whose time counts.
        let ours = runtime.block_on(async {
            let locks = locks(&rig).await?;
            let used = observe(&rig, &idle).await?;
            match locks.iter().all(Lease::is_valid) {
                true => Ok(used),
                false => Err(Failure::from("a lock was lost")),
            }
        })?;
        let rig = setup.start();
        let theirs = runtime.block_on(async {
            let mut keeping = JoinSet::new();
            keeping.spawn(keep(leases(&rig).await?));
            let used = observe(&rig, &idle).await?;
            match keeping.try_join_next() {
                Some(failed) => failed?.map(|()| used),
                None => Ok(used),
            }
        })?;
        print(report, &ours, &theirs);
    }
    Ok(())
}

/// What it took to keep them.
struct Used {
    calls: Calls,
    ours: Duration,
    cluster: Duration,
}

fn print(report: &mut Report, ours: &Used, theirs: &Used) {
    let mut line = |what: &str, unit, of: &dyn Fn(&Used) -> f64, goal| {
        let (ours, theirs) = ([of(ours)], [of(theirs)]);
        report.line(&Line { what, unit, ours: &ours, theirs: &theirs, goal });
    };
    let per_tick = |calls: u64| calls as f64 / f64::from(TICKS);
    let keep_alives = |used: &Used| per_tick(used.calls.of("LeaseKeepAlive"));
    let target = Goal::Own(Target::AtMost(2.0));
    line("  keep-alives in a third of the ttl", Unit::Number, &keep_alives, target);
    let all = |used: &Used| per_tick(used.calls.all());
    line("  all requests in a third of the ttl", Unit::Number, &all, Goal::None);
    let client = |used: &Used| used.ours.as_secs_f64() * 1e3;
    line("  processor time of the client", Unit::Millis, &client, Goal::None);
    let cluster = |used: &Used| used.cluster.as_secs_f64() * 1e3;
    line("  processor time of the cluster", Unit::Millis, &cluster, Goal::None);
}

async fn observe(rig: &Rig, idle: &Rig) -> Result<Used, Failure> {
    let third = Duration::from_secs(TTL as u64) / 3;
    // Past what acquiring them has caused.
    pause(third * 2).await;
    let (calls, before, ours) = (rig.calls(), [rig.cpu()?, idle.cpu()?], own_cpu());
    pause(third * TICKS).await;
    let (ours, after) = (own_cpu() - ours, [rig.cpu()?, idle.cpu()?]);
    let cluster = (after[0] - before[0]).saturating_sub(after[1] - before[1]);
    Ok(Used { calls: rig.calls().since(&calls), ours, cluster })
}

/// Processor time that this process has used.
fn own_cpu() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

async fn locks(rig: &Rig) -> Result<Vec<Lease>, Failure> {
    let client = leasehold::connect(&rig.url()).await?;
    let mut locks = Vec::new();
    for number in 0..LOCKS {
        let lock = client.lock(format!("kept-{number}")).ttl(Duration::from_secs(TTL as u64));
        locks.push(lock.acquire().await?);
    }
    Ok(locks)
}

type Kept = (LeaseKeeper, LeaseKeepAliveStream);

async fn leases(rig: &Rig) -> Result<Vec<Kept>, Failure> {
    let mut client = plain(rig).await?;
    let mut leases = Vec::new();
    for number in 0..LOCKS {
        let lease = client.lease_grant(TTL, None).await?.id();
        create(&mut client, &format!("kept-{number}"), lease).await?;
        leases.push(client.lease_keep_alive(lease).await?);
    }
    Ok(leases)
}

/// All at once, which is cheaper than one by one.
async fn keep(mut leases: Vec<Kept>) -> Result<(), Failure> {
    let mut tick = now();
    loop {
        for (keeper, _) in &mut leases {
            keeper.keep_alive().await?;
        }
        for (_, answers) in &mut leases {
            let answer = answers.message().await?.ok_or("a keep-alive has no answer")?;
            if answer.ttl() <= 0 {
                return Err("a lease was lost".into());
            }
        }
        tick = tick + Duration::from_secs(TTL as u64) / 3;
        pause_until(tick).await;
    }
}
