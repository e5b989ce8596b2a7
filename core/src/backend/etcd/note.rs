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

/// For how long it has been held or has rested, by the wall clocks of two machines.
pub(super) fn held_for(note: &str, wall_micros: u64) -> Duration {
    let held = ["held", "handed on", RESTS].contains(&does(note).unwrap_or_default());
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
        // What others have written.
        assert_eq!(&*label("nobody"), "nobody");
        assert_eq!(held_for("nobody", 3_000_000), Duration::ZERO);
    }
}
