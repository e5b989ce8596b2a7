//! Who held a lock when, where it goes round between processes.

use std::time::Duration;

use leasehold::time::Instant;

use super::Failure;
use super::clock::{micros, now, pause, pause_until};
use super::rounds::quantile;

/// When somebody asked for and held the lock, in nanoseconds of the machine's clock.
pub struct Turn {
    /// The so manieth of all.
    pub waiter: usize,
    /// It began to ask,
    pub asked: u64,
    /// had it,
    pub acquired: u64,
    /// and began to give it back.
    pub releasing: u64,
}

impl Turn {
    /// As a line that [`Turn::parse`] reads.
    pub fn line(waiter: usize, moments: [Instant; 3]) -> String {
        let [asked, acquired, releasing] = moments.map(Instant::as_nanos);
        format!("{waiter} {asked} {acquired} {releasing}\n")
    }

    /// From a process whose waiters are counted from `first` on.
    pub fn parse(line: &str, first: usize) -> Result<Self, Failure> {
        let numbers = line.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        let [waiter, asked, acquired, releasing] = numbers[..] else {
            return Err("a broken turn".into());
        };
        Ok(Self { waiter: first + waiter as usize, asked, acquired, releasing })
    }
}

/// Somebody who takes a lock again and again.
pub trait Waiter: Send + 'static {
    /// Wait for it and take it.
    fn take(&mut self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Give it back.
    fn give(&mut self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Print the turns of all of them, who hold it for so long each, from `start` to `end`.
///
/// # Errors
/// When it is too late to start, and when one of them fails.
pub fn print_turns(
    runtime: &tokio::runtime::Runtime,
    waiters: Vec<impl Waiter>,
    hold: Duration,
    start: Instant,
    end: Instant,
) -> Result<(), Failure> {
    if now() > start {
        return Err("connecting took longer than the head start".into());
    }
    let tasks = waiters.into_iter().map(|waiter| runtime.spawn(turns(waiter, hold, start, end)));
    let mut said = String::new();
    for (waiter, task) in tasks.collect::<Vec<_>>().into_iter().enumerate() {
        for turn in runtime.block_on(task)?? {
            said += &Turn::line(waiter, turn);
        }
    }
    print!("{said}");
    Ok(())
}

async fn turns(
    mut waiter: impl Waiter,
    hold: Duration,
    start: Instant,
    end: Instant,
) -> Result<Vec<[Instant; 3]>, Failure> {
    let mut turns = Vec::with_capacity(4096);
    pause_until(start).await;
    loop {
        let asked = now();
        waiter.take().await?;
        let acquired = now();
        if !hold.is_zero() {
            pause(hold).await;
        }
        let releasing = now();
        waiter.give().await?;
        turns.push([asked, acquired, releasing]);
        // Only now, so that nobody keeps what others wait for.
        if releasing >= end {
            return Ok(turns);
        }
    }
}

/// What the turns came to.
pub struct Turns {
    /// From the call of a release to the return of the next acquisition.
    pub p50: f64,
    /// The same.
    pub p99: f64,
    /// How often somebody got it.
    pub per_second: f64,
    /// How fair it was: 1 when all had the same, 1/n when one had everything.
    pub jain: f64,
    /// The longest wait, in turns: a turn is what a round of all waiters takes.
    pub longest: f64,
    /// Of all.
    pub count: usize,
}

impl Turns {
    /// Of so many waiters.
    pub fn of(mut turns: Vec<Turn>, waiters: usize) -> Self {
        turns.sort_by_key(|turn| turn.acquired);
        let hand_over =
            |two: &[Turn]| Duration::from_nanos(two[1].acquired.saturating_sub(two[0].releasing));
        let times: Vec<f64> = turns.windows(2).map(|two| micros(hand_over(two))).collect();
        let span = match (turns.first(), turns.last()) {
            (Some(first), Some(last)) => Duration::from_nanos(last.acquired - first.acquired),
            _ => Duration::ZERO,
        };
        let mut counts = vec![0.0; waiters];
        turns.iter().for_each(|turn| counts[turn.waiter] += 1.0);
        let longest = turns.iter().map(|turn| turn.acquired - turn.asked).max();
        let fair = span.mul_f64(waiters as f64 / times.len().max(1) as f64);
        Self {
            p50: quantile(times.clone(), 0.5),
            p99: quantile(times.clone(), 0.99),
            per_second: times.len() as f64 / span.as_secs_f64(),
            jain: jain(&counts),
            longest: Duration::from_nanos(longest.unwrap_or_default()).div_duration_f64(fair),
            count: turns.len(),
        }
    }
}

fn jain(counts: &[f64]) -> f64 {
    let sum: f64 = counts.iter().sum();
    let squares: f64 = counts.iter().map(|count| count * count).sum();
    sum * sum / (counts.len() as f64 * squares)
}
