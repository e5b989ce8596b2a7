//! The cases by name; [`conformance_tests!`](crate::conformance_tests) lists
//! them. Nothing here measures time: what must still be held has a ttl of a
//! minute, what must be over has been waited for.
#![allow(missing_docs)] // the names say it

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use super::Stage;
use crate::backend::{Answer, Backend, Claim, Held, Mode, Renewal, Wake};
use crate::name::{LockName, Owner};

mod handing;
mod leases;
mod line;
mod resting;
mod sharing;

pub use handing::*;
pub use leases::*;
pub use line::*;
pub use resting::*;
pub use sharing::*;

type On = Arc<dyn Stage>;
type Client = Arc<dyn Backend>;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(100);
/// After this, something [`SHORT`] is over.
const AFTER_SHORT: Duration = Duration::from_millis(150);

fn name(name: &str) -> LockName {
    LockName::new(name).expect("a proper name")
}

/// A claim by a new owner that takes a place in the line.
fn claim(lock: &str) -> Claim {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Claim {
        name: name(lock),
        owner: Owner::from_bits(0xfeed_0000_0000_0000 << 64 | u128::from(number)),
        ttl: LONG,
        delay: Duration::ZERO,
        mode: Mode::Exclusive,
        label: format!("claim {number}").into(),
        place: Some(LONG),
        renewed: true,
    }
}

fn short(lock: &str) -> Claim {
    Claim { ttl: SHORT, ..claim(lock) }
}

fn try_only(lock: &str) -> Claim {
    Claim { place: None, ..claim(lock) }
}

fn held(claim: &Claim, fence: u64) -> Held {
    Held {
        name: claim.name.clone(),
        owner: claim.owner,
        mode: claim.mode,
        fence,
        ttl: claim.ttl,
        renewed: claim.renewed,
    }
}

#[allow(clippy::disallowed_methods)] // a tie is the backend's to break, given time
async fn ask(client: &Client, claim: &Claim) -> Answer {
    for millis in 0..50 {
        let answer = client.claim(claim).await.expect("claim");
        if answer != Answer::Tied {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
    Answer::Tied
}

async fn grant(client: &Client, claim: &Claim) -> Held {
    grant_of(client, claim).await.0
}

/// A lease, and which of the permits it has.
#[allow(clippy::disallowed_methods)] // a release that is answered may still be under way to some
async fn grant_of(client: &Client, claim: &Claim) -> (Held, u32) {
    let mut answer = ask(client, claim).await;
    for millis in 0..50 {
        if !matches!(answer, Answer::Busy { ahead: 0, .. }) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(millis)).await;
        answer = ask(client, claim).await;
    }
    match answer {
        Answer::Granted { fence, slot, .. } => (held(claim, fence), slot),
        other => panic!("expected a grant, got {other:?}"),
    }
}

async fn busy(client: &Client, claim: &Claim) -> (Option<Duration>, usize) {
    match ask(client, claim).await {
        Answer::Busy { free_in, ahead, .. } => (free_in, ahead),
        other => panic!("expected busy, got {other:?}"),
    }
}

async fn free(client: &Client, held: &Held) -> bool {
    client.release(held, None).await.expect("release").held
}

async fn renewed(client: &Client, held: &Held) -> Renewal {
    client.renew(std::slice::from_ref(held)).await.expect("renew")[0]
}

/// Wait for a wake that concerns `lock`.
async fn woken(client: &Client, lock: &str) {
    next_wake(client, lock).await;
}

/// What the client is told next of this lock, or of all.
#[allow(clippy::disallowed_methods)] // a bound for a broken backend
async fn next_wake(client: &Client, lock: &str) -> Wake {
    let heard = async {
        loop {
            let wake = client.wake().await;
            if concerns(&wake, lock) {
                return wake;
            }
        }
    };
    let heard = tokio::time::timeout(Duration::from_secs(20), heard).await;
    heard.unwrap_or_else(|_| panic!("no wake for {lock:?} came"))
}

fn concerns(wake: &Wake, lock: &str) -> bool {
    match wake {
        Wake::All => true,
        Wake::Name(name) => name.as_str() == lock,
        Wake::Granted(grant) => grant.name.as_str() == lock,
    }
}

async fn has_wake_now(client: &Client) -> bool {
    let mut wake = client.wake();
    std::future::poll_fn(|cx| Poll::Ready(wake.as_mut().poll(cx).is_ready())).await
}
