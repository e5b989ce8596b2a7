//! 4: many tasks of one process wait for a lock that is held elsewhere.

use std::time::Duration;

use leasehold_tests::servers::Server;
use tokio::runtime::Builder;

use crate::Failure;
use crate::calls::Calls;
use crate::clock::pause;
use crate::report::{Goal, Line, Report, Target, Unit};

const WAITERS: usize = 100;
const SPAN: Duration = Duration::from_secs(10);
/// Until all stand in the line.
const SETTLED: Duration = Duration::from_secs(1);

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    report.section("4. 100 tasks of one client wait 10 s for a lock that another client holds");
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let requests = runtime.block_on(runtime.spawn(requests_while_waiting()))??;
    report.line(&Line {
        what: "client requests per second",
        unit: Unit::Number,
        ours: &[requests as f64 / SPAN.as_secs_f64()],
        theirs: &[],
        goal: Goal::Own(Target::AtMost(2.0)),
    });
    Ok(())
}

async fn requests_while_waiting() -> Result<u64, Failure> {
    let server = Server::start();
    let (holder, client) =
        (leasehold::connect(&server.url()).await?, leasehold::connect(&server.url()).await?);
    // Not renewed meanwhile.
    let held = holder.lock("held").ttl(10 * SPAN).acquire().await?;
    let mut waiters = tokio::task::JoinSet::new();
    for _ in 0..WAITERS {
        let lock = client.lock("held");
        waiters.spawn(async move { lock.acquire().await?.release().await });
    }
    pause(SETTLED).await;
    let before = Calls::of(&server);
    pause(SPAN).await;
    let requests = Calls::of(&server).since(&before).requests();
    held.release().await?;
    while let Some(served) = waiters.join_next().await {
        served??;
    }
    Ok(requests)
}
