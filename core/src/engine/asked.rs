//! By what ttls a lease may be renewed that is renewed by hand: a request that is late
//! cuts a longer renewal down to its own.

use std::time::Duration;

/// The requests of one lease that restart its ttl and have not been answered, and what
/// the others may count on.
#[derive(Debug, Default)]
pub(super) struct Asked {
    next: u64,
    under_way: Vec<(u64, Cap)>,
    /// The shortest ttl of those whose answers are lost: they may come at any time.
    lost: Option<Duration>,
}

/// What an answer buys: the shortest ttl of all that were under way together.
type Cap = Duration;

impl Asked {
    /// A request by this ttl is about to be sent; answers its number.
    pub(super) fn begin(&mut self, ttl: Duration) -> u64 {
        let others = self.under_way.iter_mut().map(|(_, cap)| cap);
        let mut least = self.lost.unwrap_or(ttl).min(ttl);
        for cap in others {
            least = least.min(*cap);
            *cap = ttl.min(*cap);
        }
        self.next += 1;
        self.under_way.push((self.next, least));
        self.next
    }

    /// It was carried out or never will be; answers what it buys if it was.
    pub(super) fn answered(&mut self, number: u64) -> Option<Duration> {
        let at = self.under_way.iter().position(|(other, _)| *other == number)?;
        Some(self.under_way.swap_remove(at).1)
    }

    /// Its answer will not come. It may be carried out all the same, however late.
    pub(super) fn lost(&mut self, number: u64) {
        if let Some(cap) = self.answered(number) {
            self.may_be_cut_to(cap);
        }
    }

    /// A request by this ttl may be carried out at any time.
    pub(super) fn may_be_cut_to(&mut self, ttl: Duration) {
        self.lost = Some(self.lost.map_or(ttl, |lost| lost.min(ttl)));
        self.under_way.iter_mut().for_each(|(_, cap)| *cap = ttl.min(*cap));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_answer_buys_no_more_than_the_shortest_that_may_be_carried_out_after_it() {
        let mut asked = Asked::default();
        let long = asked.begin(SECOND * 30);
        assert_eq!(asked.answered(long), Some(SECOND * 30));
        let (long, short) = (asked.begin(SECOND * 30), asked.begin(SECOND));
        let later = asked.begin(SECOND * 20);
        assert_eq!(asked.answered(short), Some(SECOND));
        assert_eq!(asked.answered(long), Some(SECOND), "nobody knows which was the last");
        assert_eq!(asked.answered(later), Some(SECOND));
        let long = asked.begin(SECOND * 30);
        assert_eq!(asked.answered(long), Some(SECOND * 30), "all are answered");
    }

    #[test]
    fn one_whose_answer_is_lost_may_be_carried_out_at_any_time() {
        let mut asked = Asked::default();
        let (long, lost) = (asked.begin(SECOND * 30), asked.begin(SECOND * 5));
        asked.lost(lost);
        assert_eq!(asked.answered(long), Some(SECOND * 5));
        let later = asked.begin(SECOND * 30);
        assert_eq!(asked.answered(later), Some(SECOND * 5));
        let shorter = asked.begin(SECOND);
        assert_eq!(asked.answered(shorter), Some(SECOND));
    }
}
