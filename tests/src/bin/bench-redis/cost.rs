//! 6: what a pair costs beside the time it takes: this process's CPU, its switches
//! from one thread to another, and the server.

use std::fs;

use leasehold_tests::servers::Server;
use tokio::runtime::Builder;

use crate::Failure;
use crate::contender::{Blocking, Contender, LEASEHOLD, OTHERS};
use crate::pair::{self, slice};
use crate::report::{Goal, Line, Report, Target, Unit};
use crate::rounds::rounds;

/// Of the server's time in the commands of the plain crate.
const AT_MOST: f64 = 3.5;
const SWITCHES: f64 = 2.0;

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    report.section("6. what a pair costs: one task on a current-thread runtime, or one thread");
    let servers = [Server::start()];
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let contenders = runtime.block_on(Contender::all(&servers))?;
    let client = runtime.block_on(leasehold::connect(&servers[0].url()))?;
    let mut blocking = Blocking::connect(&servers[0].url())?;
    let mut costs = rounds(contenders.len() + 2, |which| {
        let name = format!("cost-{which}");
        Cost::of(&servers[0], || match contenders.get(which) {
            Some(contender) => Ok(slice(&runtime, contender, &name)?.len()),
            None if which == contenders.len() => Ok(pair::by_thread(&client, &name)?.len()),
            None => Ok(pair::slice_of(|| blocking.pair(&name))?.len()),
        })
    })?;
    let threads = costs.split_off(contenders.len());
    for (other, name) in OTHERS {
        compare(report, &format!("task; {name}"), &costs[LEASEHOLD], &costs[other], other == 1);
    }
    compare(report, "thread; plain redis crate", &threads[0], &threads[1], false);
    Ok(())
}

fn compare(report: &mut Report, what: &str, ours: &[Cost], theirs: &[Cost], is_judged: bool) {
    let mut line = |of: &str, unit, measure: fn(&Cost) -> f64, goal| {
        let [ours, theirs] = [ours, theirs].map(|costs| costs.iter().map(measure).collect());
        let (ours, theirs): (Vec<f64>, Vec<f64>) = (ours, theirs);
        let what = format!("{of}; {what}");
        report.line(&Line { what: &what, unit, ours: &ours, theirs: &theirs, goal });
    };
    let goal = |goal| if is_judged { goal } else { Goal::None };
    line("CPU here", Unit::Micros, |cost| cost.here, Goal::None);
    let switches = Goal::Own(Target::AtMost(SWITCHES));
    line("switches", Unit::Number, |cost| cost.switches, goal(switches));
    let server = Goal::Ratio(Target::AtMost(AT_MOST));
    line("server, commands", Unit::Micros, |cost| cost.commands, goal(server));
    line("server, CPU", Unit::Micros, |cost| cost.server, Goal::None);
}

/// Per pair; times in µs.
struct Cost {
    here: f64,
    /// Waits of a thread for something.
    switches: f64,
    /// What the server takes for the commands, as it says itself.
    commands: f64,
    /// All that it takes, with what it reads and writes.
    server: f64,
}

impl Cost {
    fn of(
        server: &Server,
        pairs: impl FnOnce() -> Result<usize, Failure>,
    ) -> Result<Self, Failure> {
        server.command(&["CONFIG", "RESETSTAT"]);
        let before = (on_cpu("self")?, switches()?, on_cpu(&server.pid().to_string())?);
        let pairs = pairs()? as f64;
        let after = (on_cpu("self")?, switches()?, on_cpu(&server.pid().to_string())?);
        Ok(Self {
            here: (after.0 - before.0) / pairs,
            switches: (after.1 - before.1) / pairs,
            commands: commands(server)? / pairs,
            server: (after.2 - before.2) / pairs,
        })
    }
}

/// µs that the threads of a process have run.
fn on_cpu(process: &str) -> Result<f64, Failure> {
    let mut micros = 0.0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let ran = fs::read_to_string(task?.path().join("schedstat"))?;
        let nanos: f64 = ran.split(' ').next().unwrap_or_default().parse()?;
        micros += nanos / 1000.0;
    }
    Ok(micros)
}

fn switches() -> Result<f64, Failure> {
    let mut switches = 0.0;
    for task in fs::read_dir("/proc/self/task")? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        switches += line.unwrap_or_default().trim().parse::<f64>()?;
    }
    Ok(switches)
}

/// µs in what clients have asked for. What a script calls is part of the script.
fn commands(server: &Server) -> Result<f64, Failure> {
    let said = server.command(&["INFO", "commandstats"]);
    let said = said.as_str().ok_or("INFO is not a text")?;
    let of = |command: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:")));
        let micros = line.and_then(|line| line.split(',').find_map(|it| it.strip_prefix("usec=")));
        micros.and_then(|micros| micros.parse::<f64>().ok())
    };
    let scripts = of("evalsha").unwrap_or_default() + of("eval").unwrap_or_default();
    // Leasehold's scripts call it, too.
    let is_ours = of("time").is_some();
    Ok(scripts + if is_ours { 0.0 } else { of("set").unwrap_or_default() })
}
