//! What a quorum holds, from what each node says.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::node::Seen;
use crate::backend::{Holder, Status};
use crate::name::LockName;

/// The locks that are held by somebody with a majority, or waited for. `silent`
/// nodes may have voted for anybody.
pub(super) fn merge(
    seen: impl Iterator<Item = Seen>,
    silent: usize,
    majority: usize,
) -> Vec<Status> {
    let mut by_name: BTreeMap<LockName, Vec<Seen>> = BTreeMap::new();
    for one in seen {
        by_name.entry(one.name.clone()).or_default().push(one);
    }
    let merged = by_name.into_iter().map(|(name, seen)| {
        let votes = |ballot: u64| {
            seen.iter().filter(|one| one.holder.as_ref().is_some_and(|h| h.0 == ballot)).count()
        };
        // A node that was slow may show what the holder showed before.
        let shown = |label: &Arc<str>| {
            seen.iter()
                .filter(|one| one.holder.as_ref().is_some_and(|h| h.1.label == *label))
                .count()
        };
        let holders = seen.iter().filter_map(|one| one.holder.clone());
        let holder = holders
            .filter(|(ballot, _)| votes(*ballot) + silent >= majority)
            .max_by_key(|(ballot, holder)| (votes(*ballot), shown(&holder.label), holder.free_in));
        let waiters = seen.iter().map(|one| besides(one, holder.as_ref()));
        let waiters = waiters.max_by_key(Vec::len).unwrap_or_default();
        Status {
            name,
            fence: holder.as_ref().map_or(0, |(ballot, _)| *ballot),
            holders: holder.map(|(_, holder)| holder).into_iter().collect(),
            waiters,
        }
    });
    merged.filter(|status| !status.holders.is_empty() || !status.waiters.is_empty()).collect()
}

/// Who waits at a node. It may not have heard yet that one of them is the holder.
fn besides(node: &Seen, holder: Option<&(u64, Holder)>) -> Vec<Arc<str>> {
    let mut waiters = node.waiters.clone();
    let Some((ballot, holder)) = holder else { return waiters };
    if node.holder.as_ref().is_none_or(|(known, _)| known != ballot)
        && let Some(at) = waiters.iter().position(|label| *label == holder.label)
    {
        waiters.remove(at);
    }
    waiters
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn node(holder: Option<(u64, &str)>, waiters: &[&str]) -> Seen {
        let of = |fence, label: &str| Holder {
            label: label.into(),
            mode: Default::default(),
            slot: 0,
            fence,
            held_for: Duration::ZERO,
            free_in: Duration::from_secs(1),
            resting: false,
        };
        Seen {
            name: LockName::new("x").unwrap(),
            holder: holder.map(|(ballot, label)| (ballot, of(ballot, label))),
            waiters: waiters.iter().map(|label| (*label).into()).collect(),
        }
    }

    #[test]
    fn the_holder_does_not_wait_at_a_node_that_has_not_heard_of_it() {
        let late = node(Some((1, "a")), &["b", "c"]);
        let seen = [late, node(Some((2, "b")), &["c"]), node(Some((2, "b")), &[])];
        let status = merge(seen.into_iter(), 0, 2).remove(0);
        assert_eq!((status.fence, status.waiters), (2, vec![Arc::from("c")]));
        // Another of the same name may wait where it is known.
        let seen = [node(Some((2, "b")), &["b"]), node(Some((2, "b")), &[])];
        let status = merge(seen.into_iter(), 1, 2).remove(0);
        assert_eq!(status.waiters, vec![Arc::from("b")]);
    }
}
