//! A renewal of many leases that takes several requests.

use super::Renewal;
use crate::error::{Error, Outcome};

/// What came of so many leases in one of the requests.
pub(super) type Part = (usize, Result<Vec<Renewal>, Error>);

/// All their answers, in order. Those of a request that failed are unknown, and the
/// others count; the error is for all if no request has an answer.
pub(super) fn joined(parts: Vec<Part>) -> Result<Vec<Renewal>, Error> {
    let mut answers = Vec::with_capacity(parts.iter().map(|(leases, _)| leases).sum());
    let (mut is_answered, mut failed) = (parts.is_empty(), None::<Error>);
    for (leases, part) in parts {
        match part {
            Ok(part) => {
                is_answered = true;
                answers.extend(part);
            }
            Err(error) => {
                answers.extend(vec![Renewal::Unknown; leases]);
                // Of one that was sent perhaps, if there is such a one.
                let is_sent = error.outcome() != Outcome::NotHeld;
                if failed.as_ref().is_none_or(|it| is_sent && it.outcome() == Outcome::NotHeld) {
                    failed = Some(error);
                }
            }
        }
    }
    match failed {
        Some(error) if !is_answered => Err(error),
        _ => Ok(answers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(leases: usize, outcome: Outcome) -> Part {
        (leases, Err(Error::unavailable("no").with_outcome(outcome)))
    }

    #[test]
    fn what_fails_in_one_request_is_unknown_and_no_others() {
        let kept = (1, Ok(vec![Renewal::Kept]));
        let answers = joined(vec![failed(2, Outcome::NotHeld), kept]);
        assert_eq!(answers.ok(), Some(vec![Renewal::Unknown, Renewal::Unknown, Renewal::Kept]));
        let none = joined(vec![failed(1, Outcome::NotHeld), failed(1, Outcome::Unknown)]);
        assert_eq!(none.err().map(|error| error.outcome()), Some(Outcome::Unknown));
        assert_eq!(joined(Vec::new()).ok(), Some(Vec::new()));
    }
}
