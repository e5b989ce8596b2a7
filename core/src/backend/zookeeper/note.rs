//! What is written in a node, for people and for ourselves: who it is, since when, and for
//! how long after its client has died.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// As whom a node shows somebody.
pub(super) fn note(label: &str, ttl: Duration, wall_micros: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_micros(wall_micros.min(u64::from(u32::MAX) * 1_000_000));
    let ttl = humantime::format_duration(Duration::from_millis(ttl.as_millis() as u64));
    format!("{label}, since {}, ttl {ttl}", humantime::format_rfc3339_millis(at))
}

/// What a note says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) label: Arc<str>,
    /// Microseconds since 1970.
    pub(super) since: Option<u64>,
    pub(super) ttl: Option<Duration>,
}

impl Note {
    /// Those of other libraries are a label as a whole.
    pub(super) fn read(data: &[u8]) -> Self {
        let text = String::from_utf8_lossy(data);
        let ours = || {
            let (rest, ttl) = text.rsplit_once(", ttl ")?;
            let (label, since) = rest.rsplit_once(", since ")?;
            let since = humantime::parse_rfc3339(since).ok()?;
            let since = since.duration_since(SystemTime::UNIX_EPOCH).ok()?;
            let ttl = humantime::parse_duration(ttl).ok()?;
            let since = u64::try_from(since.as_micros()).ok();
            Some(Self { label: label.into(), since, ttl: Some(ttl) })
        };
        ours().unwrap_or_else(|| {
            const MOST: usize = 256;
            let label: String = text.chars().take(MOST).collect();
            Self { label: label.into(), since: None, ttl: None }
        })
    }

    /// The same with another label.
    pub(super) fn relabelled(&self, label: &str, wall_micros: u64) -> String {
        note(label, self.ttl.unwrap_or_default(), self.since.unwrap_or(wall_micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_easy_to_read_and_says_what_was_written() {
        let (ttl, at) = (Duration::from_millis(1500), 1_700_000_000_123_000);
        for label in ["host:1 nightly", "a, since then, ttl 3s", ""] {
            let written = note(label, ttl, at);
            let read = Note::read(written.as_bytes());
            assert_eq!(read, Note { label: label.into(), since: Some(at), ttl: Some(ttl) });
            assert_eq!(Note::read(read.relabelled("b", 0).as_bytes()).since, Some(at));
        }
        let written = note("host:1 x", ttl, at);
        assert_eq!(written, "host:1 x, since 2023-11-14T22:13:20.123Z, ttl 1s 500ms");
        assert_eq!(&*Note::read(b"192.168.0.1").label, "192.168.0.1");
        assert_eq!(&*Note::read(&[0xff]).label, "\u{fffd}");
    }
}
