//! Elections, on virtual time.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use leasehold::{Client, Election, Kind, Leader, Leaders, Loss, Outcome, Term};
use leasehold_tests::wire::{TTL, World, on_virtual_time, spawn};
use leasehold_tests::world::{TrueClock, cut_at};

mod observing;

const SECOND: Duration = Duration::from_secs(1);

fn election(client: &Client, value: &str) -> Election {
    client.election("x").value(value)
}

async fn lead(client: &Client, value: &str) -> Term {
    election(client, value).campaign().await.expect("a term")
}

/// What is shown by who leads, if anybody does.
fn value(leader: Option<Leader>) -> Option<String> {
    leader.map(|leader| leader.value)
}

async fn shown(world: &World) -> Option<String> {
    let (client, _) = world.client();
    value(client.election("x").leader().await.expect("an answer"))
}

async fn next(leaders: &Leaders) -> Option<String> {
    value(leaders.next().await.expect("an answer"))
}

/// Notes when the work that has it is dropped.
struct Work<'a> {
    truth: TrueClock,
    ended: &'a Cell<Option<Duration>>,
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        self.ended.set(Some(self.truth.elapsed()));
    }
}

#[test]
fn a_term_shows_its_value_and_its_number_is_the_fence() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        assert_eq!(other.election("x").leader().await.expect("an answer"), None);
        let term = lead(&client, "10.0.0.7:8080").await;
        let leader = other.election("x").leader().await.expect("an answer").expect("a leader");
        assert_eq!(leader.value, "10.0.0.7:8080");
        assert_eq!((leader.term, term.number()), (term.fence(), term.fence()));
        assert!(leader.label.ends_with(&format!(":{} 10.0.0.7:8080", std::process::id())));
        assert!(leader.free_in > SECOND && leader.free_in <= TTL);
        let number = term.number();
        term.resign().await.expect("held");
        assert_eq!(shown(&world).await, None);
        assert!(lead(&client, "").await.number() > number);
    });
}

#[test]
fn every_value_is_shown_exactly() {
    on_virtual_time(async |world| {
        let (client, _) = world.client();
        let longest = "é".repeat(128);
        for text in ["", " ", " a  b ", "a:1 b", ", held since then (now)", "🔒", &longest] {
            let term = lead(&client, text).await;
            assert_eq!(shown(&world).await.as_deref(), Some(text));
            term.resign().await.expect("held");
            let term = lead(&client, "before").await;
            term.proclaim(text).await.expect("held");
            assert_eq!(shown(&world).await.as_deref(), Some(text));
            term.resign().await.expect("held");
        }
        for text in ["a\nb", &format!("{longest}a")] {
            let error = election(&client, text).check().expect_err("no value");
            assert!(error.to_string().contains("value of an election"), "{error}");
            let error = election(&client, text).campaign().await.expect_err("no value");
            assert_eq!((error.kind(), error.outcome()), (Kind::Invalid, Outcome::NotHeld));
            let term = lead(&client, "kept").await;
            let error = term.proclaim(text).await.expect_err("no value");
            assert_eq!((error.kind(), error.outcome()), (Kind::Invalid, Outcome::Held));
            assert_eq!(shown(&world).await.as_deref(), Some("kept"));
            term.resign().await.expect("held");
        }
    });
}

#[test]
fn the_label_of_a_clients_locks_is_not_a_value() {
    on_virtual_time(async |world| {
        let options = leasehold::Options::new().label("importer");
        let machine = leasehold_tests::world::Machine::new(world.truth, 1.0, 99);
        let client = options.runtime(machine).open(Arc::new(world.server.client()));
        let client = client.expect("a client");
        let _term = client.election("x").campaign().await.expect("a term");
        assert_eq!(shown(&world).await.as_deref(), Some(""));
    });
}

#[test]
fn a_leader_proclaims_another_value_in_the_same_term() {
    on_virtual_time(async |world| {
        let (client, _) = world.client();
        let term = lead(&client, "starting").await;
        let number = term.number();
        term.proclaim("ready").await.expect("held");
        assert_eq!(shown(&world).await.as_deref(), Some("ready"));
        world.truth.sleep(TTL * 5).await;
        assert_eq!(shown(&world).await.as_deref(), Some("ready"), "after many renewals");
        assert!(term.is_valid() && term.number() == number);
        term.resign().await.expect("held");
        let error = term.proclaim("late").await.expect_err("resigned");
        assert_eq!(error.kind(), Kind::NotHeld);
    });
}

#[test]
fn a_term_that_is_handed_on_shows_what_was_proclaimed_last() {
    on_virtual_time(async |world| {
        let ((first, _), (second, _)) = (world.client(), world.client());
        for text in ["b", "  b "] {
            let term = lead(&first, "a").await;
            term.proclaim(text).await.expect("held");
            let ticket = term.into_ticket().await.expect("a ticket");
            assert_eq!(shown(&world).await.as_deref(), Some(text));
            let lease = second.adopt(ticket.as_str()).await.expect("the lease");
            assert_eq!(shown(&world).await.as_deref(), Some(text));
            world.truth.sleep(TTL * 2).await;
            assert_eq!(shown(&world).await.as_deref(), Some(text));
            lease.release().await.expect("held");
        }
    });
}

#[test]
fn of_two_values_that_are_proclaimed_at_once_the_second_stays() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let term = lead(&client, "a").await;
        wire.slow_label(SECOND);
        let (b, c) = tokio::join!(term.proclaim("b"), term.proclaim("c"));
        assert!(b.is_ok() && c.is_ok(), "{b:?} {c:?}");
        assert_eq!(shown(&world).await.as_deref(), Some("c"));
        term.into_ticket().await.expect("a ticket");
        assert_eq!(shown(&world).await.as_deref(), Some("c"));
    });
}

#[test]
fn a_former_leader_cannot_proclaim() {
    on_virtual_time(async |world| {
        let ((client, wire), (other, _)) = (world.client(), world.client());
        let term = lead(&client, "a").await;
        // It does not hear that the lock is somebody else's by now.
        wire.deafen(true);
        other.break_lock("x").await.expect("an answer");
        let _next = lead(&other, "b").await;
        assert!(term.is_valid());
        let error = term.proclaim("c").await.expect_err("not the leader");
        assert_eq!((error.kind(), term.loss()), (Kind::Lost, Some(Loss::Gone)));
        assert_eq!(shown(&world).await.as_deref(), Some("b"));
    });
}

#[test]
fn a_leader_whose_process_was_stopped_for_too_long_cannot_proclaim() {
    on_virtual_time(async |world| {
        let (client, wire, machine) = world.client_that_stops();
        let term = lead(&client, "a").await;
        machine.stop();
        world.truth.sleep(TTL).await;
        let looks = wire.looks();
        let error = term.proclaim("b").await.expect_err("its time is over");
        assert_eq!((error.kind(), wire.looks()), (Kind::Lost, looks));
        assert_eq!(shown(&world).await, None);
    });
}

#[test]
fn a_proclamation_without_an_answer_leaves_the_term_as_it_is() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let term = lead(&client, "a").await;
        wire.fail(Some((Kind::Unavailable, Outcome::Unknown)));
        let error = term.proclaim("b").await.expect_err("no answer");
        assert_eq!((error.kind(), error.outcome()), (Kind::Unavailable, Outcome::Held));
        wire.fail(None);
        term.proclaim("b").await.expect("held");
        assert_eq!(shown(&world).await.as_deref(), Some("b"));
    });
}

#[test]
fn a_body_has_ended_before_its_term_has() {
    for grants in [false, true] {
        on_virtual_time(async |world| {
            let world = if grants { world.granting() } else { world };
            let ((client, wire), (other, _)) = (world.client(), world.client());
            let ended = Cell::new(None);
            let first = election(&client, "a").wait(TTL * 100);
            let mut leading = Box::pin(first.lead(async |_| {
                let _work = Work { truth: world.truth, ended: &ended };
                std::future::pending::<()>().await;
            }));
            let waker = Waker::noop();
            assert!(leading.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
            let second = spawn(async move { (lead(&other, "b").await, other) });
            world.truth.sleep(SECOND).await;
            wire.cut(true);
            let cut = world.truth.elapsed();
            let next = tokio::select! {
                _ = leading.as_mut() => panic!("it goes on campaigning"),
                next = second => next,
            };
            let (term, _other) = next.expect("no panic");
            let ended = ended.get().expect("the body has ended");
            assert!(ended < world.truth.elapsed() - TTL / 20, "{ended:?}");
            assert!(ended > cut + TTL / 2);
            assert!(world.truth.elapsed() <= cut + TTL + SECOND);
            // And it leads again.
            wire.cut(false);
            term.resign().await.expect("held");
            tokio::select! {
                _ = leading.as_mut() => panic!("it leads"),
                () = world.truth.sleep(SECOND * 2) => {}
            }
            assert_eq!(shown(&world).await.as_deref(), Some("a"));
        });
    }
}

#[test]
fn a_body_is_dropped_before_the_next_campaign_begins() {
    on_virtual_time(async |world| {
        let ((client, _), (other, _)) = (world.client(), world.client());
        let (terms, at_work) = (RefCell::new(Vec::new()), Cell::new(0));
        struct AtWork<'a>(&'a Cell<u32>);
        impl Drop for AtWork<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() - 1);
            }
        }
        let election = election(&client, "a");
        let leading = election.lead(async |term| {
            assert_eq!(at_work.replace(1), 0, "the body of an earlier term is at work");
            let _at_work = AtWork(&at_work);
            terms.borrow_mut().push(term.number());
            if terms.borrow().len() < 4 {
                std::future::pending::<()>().await;
            }
            terms.borrow().len()
        });
        let breaking = async {
            for _ in 0..3 {
                world.truth.sleep(SECOND).await;
                other.break_lock("x").await.expect("an answer");
            }
            std::future::pending::<()>().await;
        };
        let came_to = tokio::select! {
            came_to = leading => came_to.expect("it led to the end"),
            () = breaking => unreachable!(),
        };
        assert_eq!((came_to, at_work.get()), (4, 0));
        assert!(terms.borrow().is_sorted_by(|one, next| one < next));
        assert!(world.is_free("x").await, "it has resigned");
    });
}

#[test]
fn who_leads_to_the_end_hands_the_lead_to_the_next_in_line() {
    on_virtual_time(async |world| {
        let world = world.granting();
        let ((client, _), (other, _)) = (world.client(), world.client());
        let election = election(&client, "a");
        let done = election.lead(async |term| {
            let other = other.clone();
            let waiting = spawn(async move { (lead(&other, "b").await, other) });
            world.truth.sleep(SECOND).await;
            (waiting, term.number())
        });
        let (waiting, number) = done.await.expect("it led to the end");
        let since = world.truth.elapsed();
        let (term, _other) = waiting.await.expect("no panic");
        assert!(term.number() > number);
        assert!(world.truth.elapsed() - since < SECOND / 10);
        assert_eq!(shown(&world).await.as_deref(), Some("b"));
    });
}

#[test]
fn a_body_that_returns_after_its_term_was_taken_away_is_done_again() {
    on_virtual_time(async |world| {
        let ((client, wire), (other, _)) = (world.client(), world.client());
        wire.deafen(true);
        let times = Cell::new(0);
        let election = election(&client, "a");
        let done = election.lead(async |_| {
            times.set(times.get() + 1);
            if times.get() < 3 {
                other.break_lock("x").await.expect("an answer");
            }
            times.get()
        });
        assert_eq!(done.await.expect("led to the end"), 3);
    });
}

#[test]
fn a_cancelled_campaign_leaves_nothing() {
    for grants in [false, true] {
        on_virtual_time(async |world| {
            let world = if grants { world.granting() } else { world };
            for polls in 0..12 {
                let ((client, _), (other, _)) = (world.client(), world.client());
                let term = lead(&other, "a").await;
                let release = spawn({
                    let truth = world.truth;
                    async move {
                        truth.sleep(SECOND).await;
                        term.resign().await
                    }
                });
                let campaign = election(&client, "b");
                drop(cut_at(polls, campaign.campaign()).await);
                tokio::select! {
                    _ = cut_at(polls, campaign.lead(async |_| std::future::pending::<()>().await)) => {}
                    () = world.truth.sleep(SECOND * 3) => {}
                }
                release.await.expect("no panic").expect("held");
                world.truth.sleep(SECOND).await;
                assert!(world.is_free("x").await, "cut after {polls} polls");
            }
        });
    }
}

#[test]
fn a_campaign_without_a_wait_ends_when_the_backend_is_away_for_too_long() {
    on_virtual_time(async |world| {
        let (client, wire) = world.client();
        let leads = |wait: Option<Duration>| {
            let election = election(&client, "a");
            let election = wait.map_or(election.clone(), |wait| election.wait(wait));
            let terms = Arc::new(AtomicU32::new(0));
            let count = terms.clone();
            let leading = spawn(async move {
                let body = async move |_: &Term| {
                    count.fetch_add(1, Ordering::SeqCst);
                    std::future::pending::<()>().await;
                };
                election.lead(body).await
            });
            (leading, terms)
        };
        let (leading, terms) = leads(None);
        world.truth.sleep(SECOND).await;
        wire.cut(true);
        let since = world.truth.elapsed();
        let error = leading.await.expect("no panic").expect_err("the backend is away");
        assert_eq!((error.kind(), terms.load(Ordering::SeqCst)), (Kind::Unavailable, 1));
        assert!(world.truth.elapsed() - since < TTL + SECOND * 12);
        wire.cut(false);
        let (leading, terms) = leads(Some(SECOND * 600));
        world.truth.sleep(SECOND).await;
        wire.cut(true);
        world.truth.sleep(SECOND * 60).await;
        wire.cut(false);
        world.truth.sleep(SECOND * 5).await;
        assert_eq!(terms.load(Ordering::SeqCst), 2);
        leading.abort();
    });
}
