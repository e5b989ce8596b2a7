//! What the benches beside other clients share: turns, time, and the table.

pub mod clock;
pub mod report;
pub mod rounds;
pub mod turns;

use report::Report;

/// What a bench ends with when something is wrong.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// It prints its own lines.
pub type Workload = fn(&mut Report) -> Result<(), Failure>;

/// All workloads, or those with these numbers.
pub fn measure(
    workloads: &[impl Fn(&mut Report) -> Result<(), Failure>],
    wanted: &[&str],
) -> Result<(), Failure> {
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
