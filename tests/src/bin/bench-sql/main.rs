//! `cargo xtask bench postgres` and `cargo xtask bench mysql`: Leasehold on one database, beside
//! the drivers that it uses and what others do with them, on the same server in the same run.
//! Times are this machine's; the ratios travel.

mod busy;
mod contender;
mod contention;
mod hand_over;
mod keeping;
mod pair;
mod peers;
mod plain;
mod rig;
mod throughput;
mod worker;

use leasehold_tests::bench::{Failure, clock, measure, report, rounds, turns};

use report::Report;
use rig::Kind;

/// It prints its own lines.
type OnServer = fn(Kind, &mut Report) -> Result<(), Failure>;

const WORKLOADS: [OnServer; 6] =
    [pair::run, busy::run, keeping::run, hand_over::run, throughput::run, contention::run];

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (kind, wanted) = match words[..] {
        [worker::WORD, ..] => return worker::run(&arguments[1..]),
        ["postgres", ref wanted @ ..] => (Kind::Postgres, wanted),
        ["mysql", ref wanted @ ..] => (Kind::Mysql, wanted),
        _ => return Err("on which server: postgres or mysql?".into()),
    };
    let on_server = |run: OnServer| move |report: &mut Report| run(kind, report);
    match wanted {
        ["peers"] => measure(&[on_server(peers::run)], &[]),
        wanted => measure(&WORKLOADS.map(on_server), wanted),
    }
}
