//! What a quorum holds, from what each node says.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::node::Seen;
use crate::backend::{Holder, Status};
use crate::name::{LockName, Owner};

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
        let sharers = sharers(&seen, silent, majority);
        // Of two that silent nodes may have, the later.
        let turn = sharers.first().map(|holder| holder.fence).unwrap_or_default();
        if holder.as_ref().is_none_or(|(ballot, _)| *ballot < turn) && turn > 0 {
            let waiters = seen.into_iter().map(|one| one.waiters);
            let waiters = waiters.max_by_key(Vec::len).unwrap_or_default();
            return Status { name, fence: turn, holders: sharers, waiters };
        }
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

/// Those who share one and the same turn with a majority; of several turns, the latest.
fn sharers(seen: &[Seen], silent: usize, majority: usize) -> Vec<Holder> {
    let mut shares: BTreeMap<(u64, Owner), Vec<&Holder>> = BTreeMap::new();
    for (owner, holder) in seen.iter().flat_map(|one| &one.sharers) {
        shares.entry((holder.fence, *owner)).or_default().push(holder);
    }
    shares.retain(|_, known| known.len() + silent >= majority);
    let Some(turn) = shares.last_key_value().map(|((turn, _), _)| *turn) else { return Vec::new() };
    let shares = shares.into_iter().filter(|((of, _), _)| *of == turn);
    // It was joined when the first of the nodes let it in; the label is as the latest has it.
    let merge = |known: Vec<&Holder>| {
        let latest = known.iter().max_by_key(|holder| holder.free_in).copied()?;
        let held_for = known.iter().map(|holder| holder.held_for).max().unwrap_or_default();
        Some(Holder { held_for, ..latest.clone() })
    };
    shares.filter_map(|(_, known)| merge(known)).collect()
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
    use crate::backend::Mode;

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
            sharers: Vec::new(),
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

    #[test]
    fn all_are_shown_who_share_a_turn_with_a_majority() {
        let sees = |sharers: &[(u128, u64)]| {
            let shown = |owner: &u128, turn: u64| Holder {
                mode: Mode::Shared,
                ..node(Some((turn, &owner.to_string())), &[]).holder.unwrap().1
            };
            let all =
                sharers.iter().map(|(owner, turn)| (Owner::from_bits(*owner), shown(owner, *turn)));
            Seen { sharers: all.collect(), ..node(None, &[]) }
        };
        let shown = |seen: [Seen; 3], silent| {
            let merged = merge(seen.into_iter().take(3 - silent), silent, 2);
            let labels = |status: &Status| {
                let labels = status.holders.iter().map(|holder| holder.label.to_string());
                (status.fence, labels.collect::<Vec<_>>().concat())
            };
            merged.first().map(labels).unwrap_or_default()
        };
        let all = || [sees(&[(1, 7), (2, 7)]), sees(&[(2, 7), (3, 8)]), sees(&[(1, 7)])];
        assert_eq!(shown(all(), 0), (7, "12".to_owned()), "3 is in another turn");
        let [one, other, _] = all();
        assert_eq!(shown([one, sees(&[(3, 7)]), other], 0), (7, "2".to_owned()));
        assert_eq!(shown(all(), 1), (8, "3".to_owned()), "the silent node may have it, too");
    }
}
