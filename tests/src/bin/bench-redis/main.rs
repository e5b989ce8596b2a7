//! `cargo xtask bench redis`: Leasehold on one Redis, beside other clients of the
//! same server in the same run. Times are this machine's; the ratios travel.

mod calls;
mod clock;
mod contender;
mod hand_over;
mod keeping;
mod pair;
mod raw;
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
    if arguments.first().is_some_and(|first| first == worker::WORD) {
        return worker::run(&arguments[1..]);
    }
    let wanted = match &arguments[..] {
        [] => (1..=WORKLOADS.len()).collect(),
        some => some.iter().map(|word| word.parse()).collect::<Result<Vec<usize>, _>>()?,
    };
    let mut report = Report::begin();
    for number in wanted {
        let workload = number.checked_sub(1).and_then(|at| WORKLOADS.get(at));
        workload.ok_or("the workloads are 1 to 5")?(&mut report)?;
    }
    report.end();
    Ok(())
}
