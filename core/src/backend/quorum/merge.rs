//! What a quorum holds, from what each node says.

use std::collections::BTreeMap;

use super::node::Seen;
use crate::backend::Status;
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
        let holders = seen.iter().filter_map(|one| one.holder.clone());
        let holder = holders
            .filter(|(ballot, _)| votes(*ballot) + silent >= majority)
            .max_by_key(|(ballot, holder)| (votes(*ballot), holder.free_in));
        let waiters = seen.iter().map(|one| &one.waiters).max_by_key(|waiters| waiters.len());
        Status {
            name,
            fence: holder.as_ref().map_or(0, |(ballot, _)| *ballot),
            holder: holder.map(|(_, holder)| holder),
            waiters: waiters.cloned().unwrap_or_default(),
        }
    });
    merged.filter(|status| status.holder.is_some() || !status.waiters.is_empty()).collect()
}
