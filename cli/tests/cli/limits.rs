//! Where the system has no more to give.

use crate::rig::{Rig, Running};

#[test]
fn with_too_few_descriptors_it_says_so_and_that_it_may_be_tried_again() {
    let rig = Rig::new();
    let program = env!("CARGO_BIN_EXE_leasehold");
    let mut codes = Vec::new();
    // With less the system cannot load a program.
    for most in 4..=48 {
        for task in ["run n -- true", "ls", "break n --yes"] {
            let mut command = rig.command("sh");
            command.args(["-c", &format!("ulimit -n {most}; exec {program} {task}")]);
            let ended = Running::start(command).end();
            match ended.code {
                69 => assert!(ended.stderr.contains("descriptors"), "{task} {most}: {ended:?}"),
                // There is nothing to break.
                0 | 1 => codes.push(most),
                _ => panic!("{task} with {most}: {ended:?}"),
            }
        }
    }
    assert!(codes.contains(&32) && !codes.contains(&8), "{codes:?}");
}
