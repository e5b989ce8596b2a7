//! A lease that goes from one process to another, on any backend.

use std::time::Duration;

use leasehold::Kind;
use rustix::process::Signal;

use crate::processes::Process;
use crate::scene::{SECOND, Scene};

/// What the worker's lock is called.
const NAME: &str = "register";

/// A process takes a lock, gives it and is killed; another adopts it.
///
/// `database` is a URL, or for the worker a file of the embedded backend.
#[track_caller]
pub fn hand_over_a_dead_body(worker: &str, database: &str, url: &str) {
    let scene = Scene::new();
    let client = scene.client_of(url);
    // Of a ticket that the dead process gave for long, and of one for a short while.
    for is_adopted in [true, false] {
        let mut giver = Process::start(worker, &["hold", database, "60000"]);
        let fence = giver.line();
        let ticket = giver.ask(if is_adopted { "ticket 3600" } else { "ticket 3" });
        assert!(ticket.starts_with("lh1."), "{ticket}");
        assert_eq!(giver.ask("valid"), "false");
        assert_eq!(giver.ask("release"), "Ok(())");
        giver.signal(Signal::KILL);
        assert!(!giver.rest().1);
        assert!(scene.try_hold(&client, NAME).is_none(), "the ticket outlives its giver");
        if !is_adopted {
            let lock = client.lock(NAME).wait(Duration::from_secs(20));
            drop(scene.wait(lock.acquire()).expect("its time is over"));
            let late = scene.wait(client.adopt(&ticket)).expect_err("its time is over");
            assert_eq!(late.kind(), Kind::Lost);
            continue;
        }
        let mut adopter = Process::start(worker, &["adopt", database, &ticket]);
        assert_eq!(adopter.line(), fence);
        let used = scene.wait(client.adopt(&ticket)).expect_err("it is used");
        assert_eq!(used.kind(), Kind::Lost);
        assert_eq!(adopter.ask("valid"), "true");
        assert!(scene.try_hold(&client, NAME).is_none());
        assert_eq!(adopter.ask("release"), "Ok(())");
        assert!(adopter.rest().1);
        let next = scene.wait(client.lock(NAME).wait(SECOND * 5).acquire()).expect("it is free");
        assert!(
            fence.strip_prefix("held ").and_then(|fence| fence.parse().ok()) < Some(next.fence())
        );
        scene.wait(next.release()).expect("held");
    }
}
