//! The order of those who wait, when a release reaches the servers at different times.

use crate::place::{Place, SECOND, url_of};
use leasehold_tests::own_keys::line;
use leasehold_tests::proxy::{Fault, Proxy};
use leasehold_tests::servers::Server;

#[test]
fn who_is_first_stays_first_though_the_release_is_late_at_the_other_servers() {
    let place = Place::of(3);
    let proxies: Vec<Proxy> = place.ports().into_iter().map(Proxy::before).collect();
    let ports: Vec<u16> = proxies.iter().map(Proxy::port).collect();
    let client = || place.client_of(&url_of(&ports, "max_ttl=2m"));
    let holder = client();
    let lease = place.hold(&holder, "x");
    let (first, second) = (client(), client());
    let [first, second] = [&first, &second].map(|client| place.stand_in_line(client, "x"));
    let keeps = |server: &Server| line(server, "leasehold:x").is_some();
    let arbiter = place.servers.iter().position(keeps).expect("a line");
    // Whoever keeps the line wakes the first, who then asks the others too soon.
    let is_release = |command: &[Vec<u8>]| command.iter().any(|word| word == b"lease");
    let others = proxies.iter().enumerate().filter(|(node, _)| *node != arbiter);
    let late: Vec<_> =
        others.map(|(_, proxy)| proxy.next(is_release, Fault::Delay(SECOND / 5))).collect();
    place.wait(lease.release()).unwrap();
    late.iter().for_each(|applied| applied.wait());
    let (next, _) = place.granted(first);
    assert!(!second.is_finished());
    drop(next);
    place.granted(second);
}
