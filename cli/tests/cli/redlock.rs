//! The command line on a quorum of real Redis servers.

use std::time::Duration;

use crate::rig::{Rig, now, wait_for};
use leasehold_tests::patience::{LIMIT, until};
use leasehold_tests::servers::Server;

#[test]
fn a_command_goes_on_while_one_server_after_the_other_dies_with_its_data() {
    let servers = [(); 3].map(|()| Server::start());
    let nodes = servers.each_ref().map(|server| format!("127.0.0.1:{}", server.port())).join(",");
    let rig = Rig::at(format!("redlock://{nodes}?max_ttl=1s&ttl=900ms"));
    let script = format!("echo $LEASEHOLD_FENCE > held; {}", wait_for("go"));
    let holder = rig.start(&["x"], &script);
    let fence: u64 = rig.line("held").parse().unwrap();
    let vote = |node: usize| servers[node].command(&["GET", "leasehold:x"]);
    let owner = vote(1);
    let healed = |node: usize| {
        let back = until(LIMIT, || (vote(node) == owner).then_some(()));
        back.unwrap_or_else(|| panic!("the lease did not come back to node {node}"));
    };
    servers[0].restart_empty();
    healed(0);
    servers[1].kill();
    // For longer than the lease would last by itself.
    let killed = now();
    while now().since(killed) < Duration::from_secs(2) {
        assert_eq!(rig.run(&["x", "--no-wait"], "true").code, 75);
    }
    servers[1].restart();
    healed(1);
    rig.touch("go");
    assert_eq!(holder.end().code, 0);
    let next = rig.start(&["x"], "echo $LEASEHOLD_FENCE > next");
    assert!(rig.line("next").parse::<u64>().unwrap() > fence);
    assert_eq!(next.end().code, 0);
}
