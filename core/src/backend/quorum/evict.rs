//! Taking a lock from whoever holds it, so that the lease does not come back.

use super::Quorum;
use super::node::Evicted;
use super::round::Round;
use crate::error::{Error, Outcome};
use crate::name::LockName;

impl Quorum {
    /// A node that does not have the lease yet would take it in with the next renewal, and a
    /// node that does not answer may have it. So it is over when a majority knows that it is.
    pub(super) async fn evict_for_good(&self, name: &LockName) -> Result<bool, Error> {
        let round = self.ask_patiently(self.evict_at_all(name, None)).await?;
        let held = |round: &Round<'_, Evicted>| round.answers().any(|evicted| evicted.held);
        // Also of one that was begun before and has failed.
        let over = round.answers().map(|evicted| evicted.over).max().unwrap_or_default();
        let is_over = |round: &Round<'_, Evicted>| {
            round.answers().filter(|evicted| evicted.over >= over).count() >= self.majority()
        };
        if is_over(&round) {
            return Ok(held(&round));
        }
        let again = self.ask_all(self.evict_at_all(name, Some(over)), is_over).await?;
        if is_over(&again) {
            return Ok(held(&round) || held(&again));
        }
        let message = "too few nodes have noted that the lease is over, so its next renewal may \
                       bring it back; look at their memory and their clocks, and break it again";
        Err(Error::unavailable(message).with_outcome(Outcome::Unknown))
    }

    fn evict_at_all<'a>(&'a self, name: &'a LockName, up_to: Option<u64>) -> Round<'a, Evicted> {
        Round::of_all(self.nodes.iter().map(|node| node.evict(name, up_to)))
    }
}
