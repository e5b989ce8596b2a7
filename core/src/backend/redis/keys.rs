//! What a lock's records are called. The holder key is the plain key of the
//! published Redlock algorithm; the side keys share its cluster slot.

use std::borrow::Cow;

/// The keys of one lock, in the order in which the scripts take them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    /// A string, the owner: `SET key owner NX PX ttl`.
    pub(super) lock: String,
    /// A hash: the last fence, the holder's label, the places in the line.
    pub(super) side: String,
    /// A sorted set: the owners that wait, in their order.
    pub(super) line: String,
}

/// Side keys are found by this pattern.
pub(super) const EVERY_SIDE: &str = "{*}:leasehold:side*";

impl Keys {
    pub(super) fn of(prefix: &str, name: &str) -> Self {
        let lock = format!("{prefix}{name}");
        let tag = tag_for(&lock);
        // Where the tag is not the whole key, the key follows, to tell them apart.
        let rest = if tag == lock { "" } else { &lock };
        let side = format!("{{{tag}}}:leasehold:side{rest}");
        let line = format!("{{{tag}}}:leasehold:line{rest}");
        Self { lock, side, line }
    }

    /// The holder key that a side key belongs to.
    pub(super) fn lock_of_side(side: &str) -> Option<&str> {
        let (tag, rest) = side.strip_prefix('{')?.split_once("}:leasehold:side")?;
        Some(if rest.is_empty() { tag } else { rest })
    }
}

/// What to put between braces so that the cluster slot is that of `key`.
fn tag_for(key: &str) -> Cow<'_, str> {
    match hash_tag(key) {
        Some(tag) => tag.into(),
        None if !key.contains('}') => key.into(),
        // It would end the tag too soon: find a number in the same slot.
        None => {
            let wanted = slot(key.as_bytes());
            let mut numbers = (0u32..).map(|number| number.to_string());
            let found = numbers.find(|number| slot(number.as_bytes()) == wanted);
            found.unwrap_or_default().into()
        }
    }
}

/// The part of a key that alone decides its slot: what stands between the first
/// `{` and the first `}` after it, if that is not empty.
fn hash_tag(key: &str) -> Option<&str> {
    let (tag, _) = key.split_once('{')?.1.split_once('}')?;
    Some(tag).filter(|tag| !tag.is_empty())
}

/// CRC16/XMODEM modulo 16384, as in the Redis cluster specification.
fn slot(bytes: &[u8]) -> u16 {
    let step = |crc: u16, byte: &u8| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
        })
    };
    bytes.iter().fold(0, step) % 16384
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot_of_key(key: &str) -> u16 {
        slot(hash_tag(key).unwrap_or(key).as_bytes())
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot(b"123456789"), 0x31c3);
        assert_eq!(slot_of_key("{user1000}.following"), slot_of_key("{user1000}.followers"));
    }

    #[test]
    fn the_keys_of_a_lock_share_a_slot_and_lead_back_to_it() {
        let odd = [
            "a",
            "a/b",
            "{a}b",
            "b{a}",
            "{}",
            "{}a",
            "}{",
            "a}b",
            "{a",
            "a{b}{c}",
            "{{a}}",
            "{a}{",
            "x}:leasehold:side",
            "🔒}",
            " ",
        ];
        for prefix in ["", "leasehold:", "{app}:", "}"] {
            for name in odd {
                let keys = Keys::of(prefix, name);
                assert_eq!(keys.lock, format!("{prefix}{name}"));
                assert_eq!(slot_of_key(&keys.side), slot_of_key(&keys.lock), "{keys:?}");
                assert_eq!(slot_of_key(&keys.line), slot_of_key(&keys.lock), "{keys:?}");
                assert_eq!(Keys::lock_of_side(&keys.side), Some(&*keys.lock), "{keys:?}");
            }
        }
    }

    #[test]
    fn the_usual_keys_are_plain_to_read() {
        let keys = Keys::of("leasehold:", "invoices/42");
        assert_eq!(keys.lock, "leasehold:invoices/42");
        assert_eq!(keys.side, "{leasehold:invoices/42}:leasehold:side");
    }
}
