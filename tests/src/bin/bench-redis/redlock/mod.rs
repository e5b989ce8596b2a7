//! Leasehold on a quorum of servers.

use leasehold_tests::servers::Server;

use crate::report::Report;
use crate::{Failure, Workload, pair};

mod crowd;
mod faults;
pub(crate) mod peers;
mod votes;

pub(crate) const WORKLOADS: [Workload; 3] = [free, faults::run, crowd::run];

fn servers(number: usize) -> Vec<Server> {
    (0..number).map(|_| Server::start()).collect()
}

fn free(report: &mut Report) -> Result<(), Failure> {
    for nodes in [3, 5] {
        report.section(&format!(
            "1. acquire + release of a free lock by one task on {nodes} nodes, p50 of a pair"
        ));
        pair::measure(report, &servers(nodes), [1.3, 1.0])?;
    }
    Ok(())
}
