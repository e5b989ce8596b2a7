//! Another language's package, in a process of its own: `cargo xtask bench postgres peers`, which
//! installs it from its registry.

use std::path::Path;

use leasehold_tests::packages;
use leasehold_tests::processes::Process;
use tokio::runtime::Builder;

use crate::Failure;
use crate::contender::{Contender, LEASEHOLD};
use crate::pair::{SLICE, Work, timed};
use crate::report::{Goal, Line, Report, Unit};
use crate::rig::{Kind, Rig};
use crate::rounds::{quantile, rounds};

const PACKAGES: [&str; 3] = ["tooz==9.1.0", "psycopg2-binary==2.9.13", "PyMySQL==1.2.4"];

pub(crate) fn run(kind: Kind, report: &mut Report) -> Result<(), Failure> {
    report
        .section("acquire + release of a free lock, p50 of a pair; tooz, whose locks end with it");
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    for setup in kind.setups() {
        let rig = setup.start();
        let ours = runtime.block_on(Contender::all(&rig))?[LEASEHOLD].clone();
        let mut tooz = tooz(kind, &rig);
        let times = rounds(2, |which| match which {
            0 => Ok(quantile(timed(&runtime, &ours, Work::Pair, "ours")?, 0.5)),
            _ => {
                let said = tooz.ask(&SLICE.as_millis().to_string());
                said.parse().map_err(|_| format!("tooz says {said:?}").into())
            }
        })?;
        report.line(&Line {
            what: &format!("  {setup}"),
            unit: Unit::Micros,
            ours: &times[0],
            theirs: &times[1],
            goal: Goal::None,
        });
    }
    Ok(())
}

/// It answers every number of milliseconds with the median in microseconds.
fn tooz(kind: Kind, rig: &Rig) -> Process {
    let folder = packages::python("peers-sql", &PACKAGES);
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin/bench-sql/peers/tooz_pairs.py");
    let url = rig.url();
    let url = url.split('?').next().unwrap_or_default();
    let url = match kind {
        Kind::Postgres => url.replace("postgres:", "postgresql:"),
        Kind::Mysql => url.to_owned(),
    };
    let program = folder.join("bin/python");
    Process::start(&program.display().to_string(), &[&script.display().to_string(), &url])
}
