//! What is written in a key, for people and for ourselves: who it is, what they
//! do, since when, and for which attempt it was written.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::name::Owner;

/// As whom a key shows somebody who holds, waits or is kept out.
pub(super) fn note(label: &str, does: &str, wall_micros: u64, owner: Owner) -> String {
    let now = humantime::format_rfc3339_seconds(at(wall_micros));
    format!("{label}, {does} since {now} ({owner})")
}

/// Whether it was written for this owner. A key is used again by others, and who
/// answers may mistake one question for another.
pub(super) fn is_of(note: &str, owner: Owner) -> bool {
    let written = note.rsplit_once(" (").and_then(|(_, rest)| rest.strip_suffix(')'));
    written.is_some_and(|written| written == owner.to_string())
}

/// The same with another label.
pub(super) fn relabelled(note: &str, by: &str) -> String {
    let rest = note.strip_prefix(&*label(note)).unwrap_or_default();
    format!("{by}{rest}")
}

/// What a key does whose lock rests.
pub(super) const RESTS: &str = "rests";

/// Whether it is of a lock that rests.
pub(super) fn rests(note: &str) -> bool {
    does(note) == Some(RESTS)
}

/// Who it is.
pub(super) fn label(note: &str) -> Arc<str> {
    let before = note.rsplit_once(" since ").and_then(|(who, _)| who.rsplit_once(", "));
    before.map_or(note, |who| who.0).into()
}

/// What they do.
pub(super) fn does(note: &str) -> Option<&str> {
    let before = note.rsplit_once(" since ").and_then(|(who, _)| who.rsplit_once(", "));
    before.map(|(_, does)| does)
}

/// What is written of a lease that is one of several of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// Which of the permits it has, if they are counted.
    pub(super) permit: Option<u32>,
    /// `None`: the revision at which this was written.
    pub(super) fence: Option<u64>,
}

impl Share {
    /// What a key does that has it.
    pub(super) fn does(self, what: &str) -> String {
        let kind = self.permit.map_or("shared".to_owned(), |permit| format!("permit {permit}"));
        let fence = self.fence.map_or(String::new(), |fence| format!(" fence {fence}"));
        format!("{what} [{kind}{fence}]")
    }
}

/// What the key of one of several does, and what it has; `None` if it only waits.
pub(super) fn share(note: &str) -> Option<(&str, Share)> {
    let (what, said) = does(note)?.strip_suffix(']')?.split_once(" [")?;
    let (kind, fence) = match said.split_once(" fence ") {
        Some((kind, fence)) => (kind, Some(fence.parse().ok()?)),
        None => (said, None),
    };
    let permit = match kind.strip_prefix("permit ") {
        Some(permit) => Some(permit.parse().ok()?),
        None => (kind == "shared").then_some(None)?,
    };
    Some((what, Share { permit, fence }))
}

/// The same with this fence in it, for a key that is written again.
pub(super) fn with_fence(note: &str, fence: u64) -> String {
    let Some((what, share)) = share(note) else { return note.to_owned() };
    let with = Share { fence: Some(fence), ..share }.does(what);
    let (label, before) = (label(note), format!(", {}", share.does(what)));
    let rest = note.strip_prefix(&*label).and_then(|rest| rest.strip_prefix(&*before));
    rest.map_or(note.to_owned(), |rest| format!("{label}, {with}{rest}"))
}

/// For how long it has been held or has rested, by the wall clocks of two machines.
pub(super) fn held_for(note: &str, wall_micros: u64) -> Duration {
    let what = share(note).map(|(what, _)| what).or_else(|| does(note)).unwrap_or_default();
    let held = ["held", "handed on", RESTS].contains(&what);
    let since = note.rsplit_once(" since ").map(|(_, since)| since).filter(|_| held);
    let since = since.and_then(|since| since.split(" (").next());
    let since: Option<SystemTime> = since.and_then(|since| humantime::parse_rfc3339(since).ok());
    since.and_then(|since| at(wall_micros).duration_since(since).ok()).unwrap_or_default()
}

fn at(wall_micros: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(wall_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_tells_what_was_written_in_it() {
        let (owner, other) = (Owner::from_bits(0xfeed), Owner::from_bits(0xfee));
        let said = note("host 7 a, (b) since c", "held", 1_000_000, owner);
        let hex = "0000000000000000000000000000feed";
        assert_eq!(said, format!("host 7 a, (b) since c, held since 1970-01-01T00:00:01Z ({hex})"));
        assert!(is_of(&said, owner) && !is_of(&said, other) && !is_of("nobody", owner));
        assert_eq!(&*label(&said), "host 7 a, (b) since c");
        assert_eq!((does(&said), does("nobody")), (Some("held"), None));
        assert_eq!(held_for(&said, 3_000_000), Duration::from_secs(2));
        let other = relabelled(&said, "host 7 d, held since e");
        assert!(is_of(&other, owner));
        assert_eq!(&*label(&other), "host 7 d, held since e");
        assert_eq!(held_for(&other, 3_000_000), Duration::from_secs(2));
        assert!(!rests(&said) && !rests("nobody, rests"));
        let said = note("a, held since ever, rests since b", RESTS, 1_000_000, owner);
        assert!(rests(&said) && &*label(&said) == "a, held since ever, rests since b");
        assert_eq!(held_for(&said, 3_000_000), Duration::from_secs(2));
        for permit in [None, Some(0), Some(4)] {
            let without = Share { permit, fence: None };
            let with = Share { permit, fence: Some(78) };
            let [said, again] =
                [without, with].map(|share| note("a, b", &share.does("held"), 1_000_000, owner));
            assert_eq!(super::share(&said), Some(("held", without)), "{said}");
            assert_eq!(super::share(&again), Some(("held", with)), "{again}");
            assert_eq!(with_fence(&said, 78), again);
            assert_eq!((with_fence(&again, 78), &*label(&again)), (again.clone(), "a, b"));
            assert!(is_of(&again, owner));
            assert_eq!(held_for(&again, 3_000_000), Duration::from_secs(2));
        }
        let strange = ["held [permit 4294967296]", "held [shared fence -1]", "held [two]", "waits"];
        for does in strange {
            let said = note("a [shared]", does, 1_000_000, owner);
            assert_eq!(super::share(&said), None, "{said}");
            assert_eq!(with_fence(&said, 1), said);
        }
        // What others have written.
        assert_eq!(&*label("nobody"), "nobody");
        assert_eq!(held_for("nobody", 3_000_000), Duration::ZERO);
    }
}
