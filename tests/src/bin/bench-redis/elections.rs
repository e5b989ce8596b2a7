//! 8: how soon there is another leader.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use leasehold::Client;
use leasehold_tests::servers::Server;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use crate::Failure;
use crate::clock::{micros, now, pause};
use crate::report::{Goal, Line, Report, Target, Unit};
use crate::rounds::{quantile, rounds};

/// The first argument of a leader that is killed.
pub(crate) const WORD: &str = "leader";

const TTL: Duration = Duration::from_secs(2);
const TURNS: usize = 300;

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    report.section("8. elections: until the next one leads");
    let server = Server::start();
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let connect = || runtime.block_on(leasehold::connect(&server.url()));
    let clients = [connect()?, connect()?];
    let slices = rounds(2, |which| match which {
        0 => Ok(quantile(runtime.block_on(resignations(&clients))?, 0.5)),
        _ => Ok(quantile(runtime.block_on(hand_overs(&clients))?, 0.5)),
    })?;
    report.line(&Line {
        what: "after resign, p50; a lock after its release",
        unit: Unit::Micros,
        ours: &slices[0],
        theirs: &slices[1],
        goal: Goal::Ratio(Target::AtMost(1.3)),
    });
    let kills = rounds(1, |_| fail_over(&runtime, &server.url(), &clients[0]))?;
    report.line(&Line {
        what: "after kill -9, with a ttl of 2 s",
        unit: Unit::Millis,
        ours: &kills[0],
        theirs: &[],
        goal: Goal::Own(Target::AtMost((TTL + Duration::from_secs(1)).as_millis() as f64)),
    });
    Ok(())
}

/// From the call of `resign` to the next term.
async fn resignations(clients: &[Client; 2]) -> Result<Vec<f64>, Failure> {
    let elections = clients.each_ref().map(|client| client.election("lead"));
    let (mut times, mut term) = (Vec::new(), elections[0].campaign().await?);
    for turn in 1..=TURNS {
        let election = elections[turn % 2].clone();
        let next = in_line(async move { election.campaign().await }).await;
        let since = now();
        term.resign().await?;
        term = next.await??;
        times.push(micros(now().since(since)));
    }
    term.resign().await?;
    Ok(times)
}

/// Begin to wait, and stand in line when this returns.
async fn in_line<T: Send + 'static>(
    work: impl Future<Output = Result<T, leasehold::Error>> + Send + 'static,
) -> JoinHandle<Result<T, leasehold::Error>> {
    let next = Handle::current().spawn(work);
    pause(Duration::from_millis(1)).await;
    next
}

async fn hand_overs(clients: &[Client; 2]) -> Result<Vec<f64>, Failure> {
    let locks = clients.each_ref().map(|client| client.lock("lock"));
    let (mut times, mut lease) = (Vec::new(), locks[0].acquire().await?);
    for turn in 1..=TURNS {
        let lock = locks[turn % 2].clone();
        let next = in_line(async move { lock.acquire().await }).await;
        let since = now();
        lease.release().await?;
        lease = next.await??;
        times.push(micros(now().since(since)));
    }
    lease.release().await?;
    Ok(times)
}

/// In milliseconds, from the death of a leader's process.
fn fail_over(runtime: &Runtime, url: &str, client: &Client) -> Result<f64, Failure> {
    let mut leader =
        Command::new(std::env::current_exe()?).args([WORD, url]).stdout(Stdio::piped()).spawn()?;
    let out = leader.stdout.take().ok_or("no output")?;
    let leads = BufReader::new(out).lines().next().ok_or("the leader said nothing")??;
    if leads != "leads" {
        return Err(format!("the leader said {leads:?}").into());
    }
    let election = client.election("killed");
    let next = runtime.block_on(in_line(async move { election.campaign().await }));
    // Somewhere between two of its renewals.
    runtime.block_on(pause(Duration::from_millis(fastrand::u64(300..1000))));
    let since = now();
    leader.kill()?;
    leader.wait()?;
    let term = runtime.block_on(next)??;
    let took = now().since(since);
    runtime.block_on(term.resign())?;
    Ok(micros(took) / 1000.0)
}

/// Lead until killed.
pub(crate) fn lead(url: &str) -> Result<(), Failure> {
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = leasehold::connect(url).await?;
        let _term = client.election("killed").ttl(TTL).campaign().await?;
        println!("leads");
        std::future::pending().await
    })
}
