//! 5: a thousand leases of one client are kept, beside a thousand keys whose
//! ttl is restarted one by one.

use std::time::Duration;

use leasehold::Lease;
use leasehold_tests::servers::Server;
use redis::aio::MultiplexedConnection;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use crate::Failure;
use crate::calls::Calls;
use crate::clock::{now, pause, pause_until};
use crate::report::{Goal, Line, Report, Target, Unit};

const LEASES: usize = 1000;
const TTL: Duration = Duration::from_secs(3);
const TICKS: u32 = 10;

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    report.section(
        "5. 1000 leases of one client with a ttl of 3 s for 10 s; 1000 PEXPIRE by the plain crate",
    );
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    // On three servers at the same time. The idle one shows what the others
    // would have used anyway.
    let [ours, theirs, idle] = runtime.block_on(runtime.spawn(measure()))??;
    let per_tick = |used: &Used| used.requests as f64 / f64::from(TICKS);
    let cpu = |used: &Used| used.cpu.saturating_sub(idle.cpu).as_secs_f64() * 1e3;
    report.line(&Line {
        what: "client requests in a third of the ttl",
        unit: Unit::Number,
        ours: &[per_tick(&ours)],
        theirs: &[LEASES as f64],
        goal: Goal::Own(Target::AtMost(3.0)),
    });
    report.line(&Line {
        what: "server processor time for all of it",
        unit: Unit::Millis,
        ours: &[cpu(&ours)],
        theirs: &[cpu(&theirs)],
        goal: Goal::None,
    });
    Ok(())
}

/// What a server did in the time.
struct Used {
    requests: u64,
    cpu: Duration,
}

async fn measure() -> Result<[Used; 3], Failure> {
    let servers = [Server::start(), Server::start(), Server::start()];
    let leases = leases(&servers[0].url()).await?;
    let client = redis::Client::open(servers[1].url())?;
    let keys = keys(client.get_multiplexed_async_connection().await?).await?;
    let mut renewing = JoinSet::new();
    renewing.spawn(keep(keys));
    // Past what acquiring them has caused.
    pause(TTL / 2).await;
    let before = servers.each_ref().map(|server| (Calls::of(server), server.cpu()));
    pause(TTL / 3 * TICKS).await;
    let mut used = Vec::new();
    for (server, (calls, cpu)) in servers.iter().zip(&before) {
        let requests = Calls::of(server).since(calls).requests();
        used.push(Used { requests, cpu: server.cpu() - *cpu });
    }
    if let Some(failed) = renewing.try_join_next() {
        failed??;
    }
    if !leases.iter().all(Lease::is_valid) {
        return Err("a lease was lost".into());
    }
    used.try_into().map_err(|_| "there are three servers".into())
}

async fn leases(url: &str) -> Result<Vec<Lease>, Failure> {
    let client = leasehold::connect(url).await?;
    let mut leases = Vec::new();
    for number in 0..LEASES {
        leases.push(client.lock(format!("kept-{number}")).ttl(TTL).acquire().await?);
    }
    Ok(leases)
}

async fn keys(connection: MultiplexedConnection) -> Result<Keys, Failure> {
    let mut keys = Keys { names: Vec::new(), connection };
    for number in 0..LEASES {
        let name = format!("kept-{number}");
        let mut set = redis::cmd("SET");
        set.arg(&name).arg("owner").arg("NX").arg("PX").arg(TTL.as_millis() as u64);
        let _: String = set.query_async(&mut keys.connection).await?;
        keys.names.push(name);
    }
    Ok(keys)
}

struct Keys {
    names: Vec<String>,
    connection: MultiplexedConnection,
}

/// All at once, which is cheaper for the server than one by one.
async fn keep(keys: Keys) -> Result<(), Failure> {
    let mut tick = now();
    loop {
        let mut requests = JoinSet::new();
        for name in keys.names.clone() {
            let mut connection = keys.connection.clone();
            requests.spawn(async move {
                let mut renew = redis::cmd("PEXPIRE");
                renew.arg(name).arg(TTL.as_millis() as u64);
                renew.query_async::<u32>(&mut connection).await
            });
        }
        while let Some(renewed) = requests.join_next().await {
            if renewed?? != 1 {
                return Err("a plain key was lost".into());
            }
        }
        tick = tick + TTL / 3;
        pause_until(tick).await;
    }
}
