//! `cargo xtask bench etcd`: Leasehold on a cluster of etcd, beside `etcd-client` on
//! the same cluster in the same run. Times are this machine's; the ratios travel.

mod contender;
mod hand_over;
mod history;
mod keeping;
mod pair;
mod rig;
mod waiter;
mod waiting;

use leasehold_tests::bench::{Failure, Workload, clock, measure, report, rounds};

const WORKLOADS: [Workload; 5] =
    [pair::run, hand_over::run, keeping::run, waiting::run, history::run];

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted: Vec<&str> = arguments.iter().map(String::as_str).collect();
    measure(&WORKLOADS, &wanted)
}
