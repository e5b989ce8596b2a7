//! Other languages' clients, each in a process of its own: `cargo xtask bench
//! redlock peers`, which installs them from their registries.

use std::path::Path;

use leasehold_tests::packages;
use leasehold_tests::processes::Process;
use leasehold_tests::servers::Server;
use tokio::runtime::Builder;

use super::servers;
use crate::Failure;
use crate::contender::{Contender, LEASEHOLD};
use crate::pair::{SLICE, slice};
use crate::report::{Goal, Line, Report, Target, Unit};
use crate::rounds::{quantile, rounds};

const NODE: [&str; 3] = ["redlock@5.0.0-beta.2", "redis-semaphore@5.8.0", "ioredis@6.0.0"];
const PYTHON: [&str; 2] = ["pottery==3.0.1", "redis==8.1.0"];
/// The first word is for the script.
const PEERS: [&str; 3] = ["node-redlock", "redis-semaphore", "pottery"];

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    for nodes in [3, 5] {
        report
            .section(&format!("acquire + release of a free lock on {nodes} nodes, p50 of a pair"));
        let servers = servers(nodes);
        let runtime = Builder::new_multi_thread().enable_all().build()?;
        let ours = runtime.block_on(Contender::all(&servers))?[LEASEHOLD].clone();
        let mut peers = PEERS.map(|peer| start(peer, &servers));
        let times = rounds(1 + peers.len(), |which| match which.checked_sub(1) {
            None => Ok(quantile(slice(&runtime, &ours, "ours")?, 0.5)),
            Some(peer) => {
                let said = peers[peer].ask(&SLICE.as_millis().to_string());
                said.parse().map_err(|_| format!("{} says {said:?}", PEERS[peer]).into())
            }
        })?;
        for (peer, theirs) in PEERS.into_iter().zip(&times[1..]) {
            report.line(&Line {
                what: peer,
                unit: Unit::Micros,
                ours: &times[0],
                theirs,
                goal: Goal::Ratio(Target::AtMost(1.0)),
            });
        }
    }
    Ok(())
}

/// It answers every number of milliseconds with the median in microseconds.
fn start(peer: &str, servers: &[Server]) -> Process {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin/bench-redis/redlock/peers");
    let (program, script) = match peer {
        "pottery" => {
            let folder = packages::python("peers-python", &PYTHON);
            (folder.join("bin/python"), scripts.join("pottery_pairs.py"))
        }
        _ => ("node".into(), packages::node("peers-node", &NODE, &scripts.join("pairs.js"))),
    };
    let ports: Vec<String> = servers.iter().map(|server| server.port().to_string()).collect();
    let (program, script) = (program.display().to_string(), script.display().to_string());
    let mut words = vec![script.as_str(), peer];
    words.extend(ports.iter().map(String::as_str));
    Process::start(&program, &words)
}
