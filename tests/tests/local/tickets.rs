//! Leases that are handed to another process, on virtual time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use leasehold::backend::Quorum;
use leasehold::backend::quorum::{MemoryNode, Node};
use leasehold::{Client, Error, Kind, Lease, Loss, Options, Outcome, Ticket};
use leasehold_tests::wire::{TTL, World, hold, on_virtual_time, spawn};
use leasehold_tests::world::Machine;

mod trouble;

const SECOND: Duration = Duration::from_secs(1);
/// By which a server counts longer than its clients.
const MARGIN: Duration = Duration::from_millis(500);

async fn give(lease: &Lease) -> Ticket {
    lease.into_ticket().await.expect("a ticket")
}

async fn adopt(client: &Client, ticket: &Ticket) -> Lease {
    client.adopt(ticket.as_str()).await.expect("the ticket is good")
}

async fn refused(client: &Client, ticket: &str) -> Error {
    client.adopt(ticket).await.expect_err("the ticket is not good")
}

async fn is_busy(world: &World, name: &str) -> bool {
    let (client, _) = world.client();
    client.lock(name).try_acquire().await.expect("an answer").is_none()
}

async fn events(client: Client, events: leasehold::Events) -> Vec<String> {
    client.close().await;
    let mut told = Vec::new();
    while let Some(event) = events.next().await {
        told.push(format!("{} {}", event.what.code(), event.fence));
    }
    told
}

#[test]
fn a_lease_that_is_handed_on_is_never_free_and_goes_on_as_it_was() {
    on_virtual_time(async |world| {
        let ((web, _), (job, _)) = (world.client(), world.client());
        let (of_web, of_job) = (web.events(), job.events());
        let lock = web.lock("x").ttl(SECOND * 4).delay(SECOND).label("importer");
        let lease = lock.acquire().await.expect("it is free");
        let fence = lease.fence();
        let ticket = give(&lease).await;
        assert!(is_busy(&world, "x").await);
        let lease = adopt(&job, &ticket).await;
        assert_eq!((lease.name(), lease.fence(), lease.ttl()), ("x", fence, SECOND * 4));
        assert!(lease.remaining() > SECOND * 3);
        world.truth.sleep(SECOND * 30).await;
        assert!(lease.is_valid() && is_busy(&world, "x").await, "it is renewed");
        let status = job.status("x").await.expect("an answer").expect("it is held");
        let label = status.holder().expect("a holder").label.to_string();
        assert!(label.ends_with(" importer"), "{label}");
        lease.release().await.expect("held");
        assert!(world.is_free("x").await);
        assert!(hold(&web, "x").await.fence() > fence);
        let told = events(web, of_web).await;
        assert_eq!(told[..2], [format!("acquired {fence}"), format!("handed_on {fence}")]);
        let told = events(job, of_job).await;
        assert_eq!(told, [format!("adopted {fence}"), format!("released {fence}")]);
    });
}

#[test]
fn who_has_handed_a_lease_on_holds_nothing_and_can_release_nothing() {
    on_virtual_time(async |world| {
        let ((web, wire), (job, _)) = (world.client(), world.client());
        let lease = hold(&web, "x").await;
        let watch = lease.watch();
        let ticket = give(&lease).await;
        assert!(!lease.is_valid() && lease.remaining().is_zero() && lease.loss().is_none());
        assert_eq!(watch.ended().await, None);
        let error = lease.check().expect_err("it is over");
        assert_eq!(error.kind(), Kind::NotHeld);
        assert!(error.to_string().contains("handed on"), "{error}");
        assert_eq!(give_again(&lease).await.kind(), Kind::NotHeld);
        assert_eq!(lease.renew().await.expect_err("over").kind(), Kind::NotHeld);
        let before = wire.requests();
        lease.release().await.expect("there is nothing to release");
        lease.finish().await.expect("and the work was done under the lock");
        drop(lease);
        world.truth.sleep(TTL / 2).await;
        web.close().await;
        assert_eq!(wire.requests(), before, "nothing is asked for a lease that is handed on");
        assert!(is_busy(&world, "x").await);
        adopt(&job, &ticket).await.release().await.expect("held");
    });
}

async fn give_again(lease: &Lease) -> Error {
    lease.into_ticket().await.expect_err("it is over")
}

#[test]
fn a_ticket_is_for_one_use() {
    on_virtual_time(async |world| {
        let ((web, _), (job, _)) = (world.client(), world.client());
        let ticket = give(&hold(&web, "x").await).await;
        let lease = adopt(&job, &ticket).await;
        for client in [&web, &job] {
            let error = refused(client, ticket.as_str()).await;
            assert_eq!((error.kind(), error.outcome()), (Kind::Lost, Outcome::NotHeld));
            assert!(error.to_string().contains("adopted before"), "{error}");
            assert_eq!(error.lock(), Some("x"));
        }
        assert!(lease.is_valid());
        lease.release().await.expect("held");
        assert_eq!(refused(&job, ticket.as_str()).await.kind(), Kind::Lost);
        assert!(world.is_free("x").await, "it never takes the lock anew");
    });
}

#[test]
fn of_many_that_adopt_a_ticket_at_once_one_has_the_lease() {
    on_virtual_time(async |world| {
        let ticket = give(&hold(&world.client().0, "x").await).await;
        let adopting = (0..20).map(|number| {
            let ((client, wire), ticket) = (world.client(), ticket.clone());
            wire.slow_transfers(Duration::from_millis(number % 3));
            spawn(async move { client.adopt(ticket.as_str()).await })
        });
        let mut adopted = Vec::new();
        for task in adopting.collect::<Vec<_>>() {
            match task.await.expect("no panic") {
                Ok(lease) => adopted.push(lease),
                Err(error) => assert_eq!(error.kind(), Kind::Lost),
            }
        }
        assert_eq!(adopted.len(), 1);
        world.truth.sleep(TTL * 2).await;
        assert!(adopted[0].is_valid());
    });
}

#[test]
fn a_ticket_that_nobody_adopts_in_its_time_frees_the_lock() {
    on_virtual_time(async |world| {
        let ((web, _), (job, _)) = (world.client(), world.client());
        for (valid, delay) in [(TTL, 0), (SECOND * 3, 0), (SECOND * 600, 0), (SECOND, 5)] {
            let delay = SECOND * delay;
            let lease = web.lock("x").delay(delay).acquire().await.expect("it is free");
            world.truth.sleep(TTL * 3).await;
            let since = world.truth.elapsed();
            let ticket = match valid == TTL {
                true => give(&lease).await,
                false => lease.into_ticket_for(valid).await.expect("a ticket"),
            };
            world.truth.sleep(valid / 2).await;
            assert!(is_busy(&world, "x").await);
            let next = hold(&world.client().0, "x").await;
            let lasted = world.truth.elapsed() - since;
            assert!(lasted >= valid + delay && lasted < valid + delay + MARGIN * 2, "{lasted:?}");
            let error = refused(&job, ticket.as_str()).await;
            assert!(error.kind() == Kind::Lost && error.to_string().contains("time was over"));
            next.release().await.expect("held");
        }
    });
}

#[test]
fn an_adoption_that_races_the_end_of_its_ticket_has_the_lease_or_is_lost() {
    for off in -40_i64..40 {
        on_virtual_time(async |world| {
            let ((web, _), (job, wire)) = (world.client(), world.client());
            let lease = hold(&web, "x").await;
            let ticket = lease.into_ticket_for(SECOND).await.expect("a ticket");
            let other = spawn(async move { hold(&web, "x").await });
            wire.slow_transfers(Duration::from_millis(10));
            let until = Duration::from_millis((980 + off) as u64);
            world.truth.sleep(until).await;
            match job.adopt(ticket.as_str()).await {
                Ok(lease) => {
                    assert!(!other.is_finished());
                    world.truth.sleep(TTL * 2).await;
                    assert!(lease.is_valid() && !other.is_finished());
                    lease.release().await.expect("held");
                }
                Err(error) => assert_eq!(error.kind(), Kind::Lost),
            }
            assert!(other.await.expect("no panic").is_valid());
        });
    }
}

#[test]
fn a_lock_that_is_broken_makes_its_ticket_worthless() {
    on_virtual_time(async |world| {
        let ((web, _), (job, _)) = (world.client(), world.client());
        let ticket = give(&hold(&web, "x").await).await;
        assert!(job.break_lock("x").await.expect("an answer"));
        let next = hold(&web, "x").await;
        assert_eq!(refused(&job, ticket.as_str()).await.kind(), Kind::Lost);
        assert!(next.is_valid());
    });
}

#[test]
fn a_ticket_of_another_lock_another_backend_or_another_version_stays_good() {
    on_virtual_time(async |world| {
        let ((web, _), (job, _)) = (world.client(), world.client());
        let ticket = give(&hold(&web, "x").await).await;
        let error = job.lock("y").adopt(ticket.as_str()).await.expect_err("another lock");
        assert_eq!(error.kind(), Kind::Refused);
        let message = error.to_string();
        assert!(message.contains(r#""x""#) && message.contains(r#""y""#), "{message}");
        let newer = ticket.as_str().replacen("lh1.", "lh2.", 1);
        let error = refused(&job, &newer).await;
        assert!(error.kind() == Kind::Refused && error.to_string().contains("upgrade"));
        let mut mistyped = ticket.as_str().to_owned();
        let letter = if &mistyped[35..36] == "A" { "B" } else { "A" };
        mistyped.replace_range(35..36, letter);
        for cut in [&ticket.as_str()[..40], &mistyped, "", "a ticket"] {
            assert_eq!(refused(&job, cut).await.kind(), Kind::Invalid);
        }
        let lease = job.lock("x").adopt(ticket.as_str()).await.expect("it is still good");
        lease.release().await.expect("held");
    });
}

#[test]
fn a_ticket_of_another_backend_is_refused_naming_both() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/locks.db", dir.path().display());
        let sqlite = leasehold::connect(&url).await.unwrap();
        let memory = Options::new().connect("memory:").await.unwrap();
        let ticket = give(&sqlite.lock("x").acquire().await.unwrap()).await;
        let error = refused(&memory, ticket.as_str()).await;
        assert_eq!(error.kind(), Kind::Refused);
        let message = error.to_string();
        assert!(message.contains("sqlite") && message.contains("memory"), "{message}");
        adopt(&sqlite, &ticket).await.release().await.unwrap();
    });
}

#[test]
fn what_cannot_be_handed_on_stays_held_and_says_why() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let lease = client.lock("x").delay(SECOND * 10).acquire().await.expect("it is free");
        for valid in [0, 99, 86_390_001] {
            let error = lease.into_ticket_for(Duration::from_millis(valid)).await;
            let error = error.expect_err("no server counts that");
            assert_eq!((error.kind(), error.outcome()), (Kind::Invalid, Outcome::Held));
        }
        let error = lease.into_ticket_for(Duration::MAX).await.expect_err("nor that");
        assert_eq!(error.kind(), Kind::Invalid);
        let several = client.locks(["a", "b"]).acquire().await.expect("they are free");
        let error = several.into_ticket().await.expect_err("a ticket has one name");
        assert_eq!((error.kind(), error.outcome()), (Kind::Unsupported, Outcome::Held));
        assert!(lease.is_valid() && several.is_valid() && wire.transfers() == 0);
        let rests = client.lock("r").min_hold(SECOND * 60).acquire().await.expect("it is free");
        let error = give_again(&rests).await;
        assert_eq!((error.kind(), error.outcome()), (Kind::Unsupported, Outcome::Held));
        assert!(error.to_string().contains("min_hold") && rests.is_valid(), "{error}");
        let one = client.locks(["c"]).acquire().await.expect("it is free");
        one.into_ticket_for(SECOND * 3600).await.expect("one is not several");
        client.close().await;
        assert_eq!(lease.into_ticket().await.expect_err("closed").kind(), Kind::Closed);
        assert_eq!(client.adopt("lh1.x").await.expect_err("no ticket").kind(), Kind::Invalid);
    });
}

#[test]
fn a_quorum_says_why_it_hands_nothing_on() {
    on_virtual_time(async |world| {
        let node = || Arc::new(MemoryNode::new(Arc::new(world.truth), SECOND).client());
        let nodes = (0..3).map(|_| node() as Arc<dyn Node>).collect();
        let machine = Machine::new(world.truth, 1.0, 1);
        let quorum = Quorum::new(nodes, SECOND * 60, machine.clone()).expect("a quorum");
        let client = Options::new().runtime(machine).open(Arc::new(quorum)).expect("a client");
        let lease = hold(&client, "x").await;
        let error = give_again(&lease).await;
        assert_eq!((error.kind(), error.outcome()), (Kind::Unsupported, Outcome::Held));
        assert!(error.to_string().contains("too few"), "{error}");
        assert!(lease.is_valid());
        let other = give(&hold(&world.client().0, "x").await).await;
        assert_eq!(refused(&client, other.as_str()).await.kind(), Kind::Unsupported);
    });
}

#[test]
fn what_is_lost_cannot_be_handed_on() {
    on_virtual_time(async |world| {
        let ((client, wire), (other, _)) = (world.client(), world.client());
        let told = client.events();
        let lease = client.lock("x").auto_renew(false).acquire().await.expect("it is free");
        other.break_lock("x").await.expect("an answer");
        let error = give_again(&lease).await;
        assert_eq!((error.kind(), lease.loss()), (Kind::Lost, Some(Loss::Gone)));
        assert_eq!(wire.transfers(), 1, "only the backend knew");
        let lease = client.lock("x").auto_renew(false).acquire().await.expect("it is free");
        world.truth.sleep(TTL).await;
        assert_eq!(give_again(&lease).await.kind(), Kind::Lost);
        assert_eq!(wire.transfers(), 1);
        let told = events(client, told).await;
        let whats: Vec<&str> = told.iter().filter_map(|told| told.split(' ').next()).collect();
        assert_eq!(whats, ["acquired", "lost", "acquired", "lost"]);
    });
}

#[test]
fn what_is_left_of_max_hold_goes_along() {
    on_virtual_time(async |world| {
        let ((web, _), (job, _)) = (world.client(), world.client());
        let lock = web.lock("x").max_hold(SECOND * 60);
        let lease = lock.acquire().await.expect("it is free");
        world.truth.sleep(SECOND * 40).await;
        let lease = adopt(&job, &give(&lease).await).await;
        let since = world.truth.elapsed();
        assert_eq!(lease.lost().await, Loss::MaxHold);
        let held = world.truth.elapsed() - since;
        assert!(held > SECOND * 18 && held <= SECOND * 20, "{held:?}");
    });
}

#[test]
fn a_lease_that_is_not_renewed_is_not_renewed_by_who_adopts_it() {
    on_virtual_time(async |world| {
        let ((web, _), (job, _)) = (world.client(), world.client());
        let lease = web.lock("x").auto_renew(false).acquire().await.expect("it is free");
        lease.renew_for(SECOND * 3).await.expect("held");
        let lease = adopt(&job, &give(&lease).await).await;
        assert_eq!(lease.ttl(), SECOND * 3);
        lease.renew_for(SECOND * 5).await.expect("held");
        assert_eq!(lease.lost().await, Loss::Expired);
    });
}

#[test]
fn those_who_share_hand_on_their_turn_and_their_slot() {
    on_virtual_time(async |world| {
        let ((web, _), (job, _)) = (world.client(), world.client());
        let read = |client: &Client| client.lock("x").shared();
        let (first, other) = (read(&web).acquire().await, read(&web).acquire().await);
        let (first, other) = (first.expect("shared"), other.expect("shared"));
        let adopted = adopt(&job, &give(&first).await).await;
        assert_eq!(adopted.fence(), other.fence());
        other.release().await.expect("held");
        assert!(is_busy(&world, "x").await);
        adopted.release().await.expect("held");
        let of_two = |client: &Client| client.lock("y").permits(2);
        let (zero, one) = (of_two(&web).acquire().await, of_two(&web).acquire().await);
        let (zero, one) = (zero.expect("a permit"), one.expect("a permit"));
        let adopted = adopt(&job, &give(&one).await).await;
        assert_eq!((adopted.slot(), adopted.fence()), (Some(1), one.fence()));
        assert!(of_two(&web).try_acquire().await.expect("an answer").is_none());
        drop(zero);
        adopted.release().await.expect("held");
    });
}

#[test]
fn whoever_waits_in_the_client_of_the_giver_waits_for_the_adopter() {
    for grants in [false, true] {
        on_virtual_time(async |world| {
            let world = if grants { world.granting() } else { world };
            let ((web, _), (job, _)) = (world.client(), world.client());
            let lease = hold(&web, "x").await;
            let waiting: Vec<_> = (0..3)
                .map(|_| {
                    let web = web.clone();
                    spawn(async move { hold(&web, "x").await.release().await })
                })
                .collect();
            world.settle().await;
            let ticket = give(&lease).await;
            world.truth.sleep(SECOND * 2).await;
            let lease = adopt(&job, &ticket).await;
            world.truth.sleep(SECOND * 20).await;
            assert!(waiting.iter().all(|waiter| !waiter.is_finished()));
            let since = world.truth.elapsed();
            lease.release().await.expect("held");
            for waiter in waiting {
                waiter.await.expect("no panic").expect("held");
            }
            assert!(world.truth.elapsed() - since < SECOND / 10);
        });
    }
}

/// Whatever is to come of it.
#[allow(dead_code, reason = "the futures are sent to other threads")]
fn they_can_be_sent(lease: &Lease, client: &Client) {
    fn is_send(_: impl Future + Send) {}
    is_send(lease.into_ticket());
    is_send(client.adopt(""));
}
