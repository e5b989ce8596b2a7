//! Taking a lock from whoever holds it, so that the lease does not come back.

use super::Quorum;
use super::node::{Evicted, FOREIGN};
use super::round::Round;
use crate::error::{Error, Outcome};
use crate::name::LockName;

impl Quorum {
    /// A node that does not have the lease yet would take it in with the next renewal, and a
    /// node that does not answer may have it. So it is over when a majority knows that it is.
    /// Nodes hear of it at different times, and whoever has the lock by then is to keep it. So
    /// first they are asked which lease that is.
    pub(super) async fn evict_for_good(&self, name: &LockName) -> Result<bool, Error> {
        let mut seen = self.evict_at_all(name, 0);
        self.hear_soon(&mut seen, |seen| self.held_by(seen).is_some_and(|by| by.is_certain)).await;
        let seen = self.ask_all(seen, |_| true).await?;
        let holder = self.held_by(&seen).map(|by| by.number);
        let foreign = holder.filter(|number| *number <= FOREIGN);
        // Also one of which a break was begun before and has failed.
        let over = seen.answers().map(|evicted| evicted.over).chain(holder).max();
        let over = foreign.or(over).unwrap_or_default();
        let is_noted = |evicted: &&Evicted| match foreign {
            // No lease of ours comes back by its number.
            Some(number) => evicted.holder != number,
            None => evicted.over >= over,
        };
        let is_over = |round: &Round<'_, Evicted>| {
            round.answers().filter(is_noted).count() >= self.majority()
        };
        if holder.is_none() && is_over(&seen) {
            return Ok(false);
        }
        let ended = self.ask_all(self.evict_at_all(name, over), is_over).await?;
        if is_over(&ended) {
            return Ok(holder.is_some() || ended.answers().any(|evicted| evicted.held));
        }
        let message = "too few nodes have noted that the lease is over, so its next renewal may \
                       bring it back; look at their memory and their clocks, and break it again";
        Err(Error::unavailable(message).with_outcome(Outcome::Unknown))
    }

    fn evict_at_all<'a>(&'a self, name: &'a LockName, up_to: u64) -> Round<'a, Evicted> {
        Round::of_all(self.nodes.iter().map(|node| node.evict(name, up_to)))
    }

    fn held_by(&self, seen: &Round<'_, Evicted>) -> Option<Holder> {
        let holders: Vec<u64> = seen.answers().map(|evicted| evicted.holder).collect();
        holder_of(&holders, self.nodes.len() - holders.len(), self.majority())
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Holder {
    /// The ballot, or the turn.
    number: u64,
    /// It has a majority, whatever the others say.
    is_certain: bool,
}

/// Who holds it, of those by whom so many nodes hold it, zero for none, while others are
/// `silent`. A later one with fewer nodes than a majority is an attempt, and may come to hold
/// the lock when this one is over. Where nobody has a majority, one with fewer nodes may yet
/// bring its lease to the others.
fn holder_of(seen: &[u64], silent: usize, majority: usize) -> Option<Holder> {
    let votes = |number: u64| seen.iter().filter(|other| **other == number).count();
    let holders = seen.iter().copied().filter(|number| *number > 0);
    let likely =
        |number: u64| (votes(number) >= majority, votes(number) + silent >= majority, number);
    let number = holders.max_by_key(|number| likely(*number))?;
    Some(Holder { number, is_certain: votes(number) >= majority })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_attempt_is_not_taken_for_the_holder() {
        let holder = |seen: &[u64], silent| {
            holder_of(seen, silent, 2).map(|holder| (holder.number, holder.is_certain))
        };
        assert_eq!(holder(&[7, 7, 8], 0), Some((7, true)));
        assert_eq!(holder(&[0, 0, 0], 0), None);
        assert_eq!(holder(&[0, 7], 1), Some((7, false)), "the silent one may have it, too");
        assert_eq!(holder(&[7, 8], 1), Some((8, false)));
        assert_eq!(holder(&[0, 7, 0], 0), Some((7, false)), "it may come to the others");
        let of_five = |seen: &[u64]| holder_of(seen, 1, 3).map(|holder| holder.number);
        assert_eq!(of_five(&[7, 7, 8, 0]), Some(7));
    }
}
