//! `cargo xtask bench redis` and `cargo xtask bench redlock`: Leasehold on one Redis
//! and on several, beside other clients of the same servers in the same run. Times are this machine's; the ratios travel.

mod calls;
mod clock;
mod contender;
mod hand_over;
mod keeping;
mod pair;
mod raw;
mod redlock;
mod report;
mod rounds;
mod throughput;
mod waiting;
mod worker;

use report::Report;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Workload = fn(&mut Report) -> Result<(), Failure>;

const WORKLOADS: [Workload; 5] =
    [pair::run, throughput::run, hand_over::run, waiting::run, keeping::run];

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [worker::WORD, ..] => worker::run(&arguments[1..]),
        ["redlock", "peers"] => measure(&[redlock::peers::run], &[]),
        ["redlock", ref wanted @ ..] => measure(&redlock::WORKLOADS, wanted),
        ref wanted => measure(&WORKLOADS, wanted),
    }
}

/// All, or those with these numbers.
fn measure(workloads: &[Workload], wanted: &[&str]) -> Result<(), Failure> {
    let wanted = match wanted {
        [] => (1..=workloads.len()).collect(),
        some => some.iter().map(|word| word.parse()).collect::<Result<Vec<usize>, _>>()?,
    };
    let mut report = Report::begin();
    for number in wanted {
        let workload = number.checked_sub(1).and_then(|at| workloads.get(at));
        let none = || format!("the workloads are 1 to {}", workloads.len());
        workload.ok_or_else(none)?(&mut report)?;
    }
    report.end();
    Ok(())
}
