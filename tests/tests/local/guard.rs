//! A guard where there is no database that it could be for.

use leasehold::{Kind, Outcome};
use leasehold_tests::scene::Scene;

#[test]
fn a_guard_is_refused_where_no_transaction_could_run_and_the_lease_is_still_held() {
    let scene = Scene::new();
    let client = scene.client_of("memory:");
    let lease = scene.hold(&client, "x");
    let error = lease.guard().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Unsupported, Outcome::Held));
    assert!(error.to_string().contains("send lease.fence() with each write"), "{error}");
    assert!(lease.is_valid());
    scene.wait(lease.release()).unwrap();
    assert_eq!(lease.guard().unwrap_err().kind(), Kind::NotHeld);
    let group = scene.wait(client.locks(["a", "b"]).acquire()).unwrap();
    assert_eq!(group.guard().unwrap_err().kind(), Kind::Unsupported);
    assert!(scene.wait(client.break_lock("b")).unwrap());
    assert_eq!(group.guard().unwrap_err().kind(), Kind::Lost);
}
