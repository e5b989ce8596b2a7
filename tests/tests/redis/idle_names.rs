//! What a name costs that was used once.

use crate::place::{LONG, Place};
use leasehold::Client;
use leasehold_tests::patience::now;
use leasehold_tests::servers::Server;

/// Take and give back so many locks.
fn use_names(place: &Place, client: &Client, names: usize) {
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let client = client.clone();
            place.spawn(async move {
                for number in (task..names).step_by(64) {
                    let lock = client.lock(format!("message/{number:08}")).ttl(LONG);
                    lock.acquire().await.unwrap().release().await.unwrap();
                }
            })
        })
        .collect();
    tasks.into_iter().for_each(|task| place.wait(task).unwrap());
}

fn memory(server: &Server) -> usize {
    let info = server.info("memory");
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    used.unwrap().trim().parse().unwrap()
}

#[test]
fn an_idle_name_costs_little() {
    const NAMES: usize = 20_000;
    let place = Place::new();
    let client = place.client();
    use_names(&place, &client, 100);
    let before = memory(&place.server);
    use_names(&place, &client, NAMES);
    let each = (memory(&place.server) - before) / (NAMES - 100);
    let keys = place.server.keys();
    let usage = |key: &String| place.server.command(&["MEMORY", "USAGE", key]).as_int().unwrap();
    println!("{each} bytes for each of {NAMES} names, MEMORY USAGE {}", usage(&keys[0]));
    assert!(each < 180, "{each} bytes");
}

#[test]
fn a_list_does_not_ask_for_every_name_that_was_ever_used() {
    const NAMES: usize = 20_000;
    let place = Place::new();
    let client = place.client();
    use_names(&place, &client, NAMES);
    let leases = ["b", "a", "c"].map(|name| place.hold(&client, name));
    let calls = || place.server.calls_by_command().get("evalsha").copied().unwrap_or_default();
    let (before, started) = (calls(), now());
    let list = place.wait(client.list()).unwrap();
    println!("{:?} beside {NAMES} idle names, {} scripts", started.elapsed(), calls() - before);
    let names: Vec<&str> = list.iter().map(|status| status.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert!(calls() - before < NAMES as u64 / 50, "{} scripts", calls() - before);
    drop(leases);
}
