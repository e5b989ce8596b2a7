//! `cargo xtask bench redis` and `cargo xtask bench redlock`: Leasehold on one Redis
//! and on several, beside other clients of the same servers in the same run. Times are this machine's; the ratios travel.

mod calls;
mod contender;
mod cost;
mod elections;
mod hand_over;
mod keeping;
mod kinds;
mod pair;
mod raw;
mod redlock;
mod throughput;
mod waiting;
mod worker;

use leasehold_tests::bench::{Failure, Workload, clock, measure, report, rounds, turns};

const WORKLOADS: [Workload; 8] = [
    pair::run,
    throughput::run,
    hand_over::run,
    waiting::run,
    keeping::run,
    cost::run,
    kinds::run,
    elections::run,
];

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [elections::WORD, url] => elections::lead(url),
        [worker::WORD, ..] => worker::run(&arguments[1..]),
        ["redlock", "peers"] => measure(&[redlock::peers::run], &[]),
        ["redlock", ref wanted @ ..] => measure(&redlock::WORKLOADS, wanted),
        ref wanted => measure(&WORKLOADS, wanted),
    }
}
