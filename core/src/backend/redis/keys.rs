//! What a lock's records are called. The holder key is the plain key of the
//! published Redlock algorithm, `PREFIX` + `NAME`. What else is stored about the
//! lock begins with that key and goes on with a NUL, which neither a prefix nor a
//! name can hold: so no name reaches it, and a pattern for the prefix covers it.

use std::sync::LazyLock;

/// The keys of one lock, in the order in which the scripts take them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    /// A string, the owner and who that is: `SET key value NX PX ttl`.
    pub(super) lock: String,
    /// A hash: the places in the line. On a node of a quorum also the last fence.
    pub(super) side: String,
    /// A sorted set: the owners that wait, in their order.
    pub(super) line: String,
    /// A string: the last fence.
    pub(super) fence: String,
}

const SIDE: char = 's';
const LINE: char = 'l';
const FENCE: char = 'f';

impl Keys {
    pub(super) fn of(prefix: &str, name: &str) -> Self {
        let mut lock = String::with_capacity(prefix.len() + name.len());
        lock.push_str(prefix);
        lock.push_str(name);
        let checksum = checksum(0, lock.as_bytes());
        let beside = |kind| beside(&lock, checksum, kind);
        Self { side: beside(SIDE), line: beside(LINE), fence: beside(FENCE), lock }
    }

    pub(super) fn all(&self) -> [&str; 4] {
        [&self.lock, &self.side, &self.line, &self.fence]
    }

    /// Those of a node of a quorum.
    pub(super) fn of_node(&self) -> [&str; 3] {
        [&self.lock, &self.side, &self.line]
    }

    /// A pattern by which every lock with this prefix is found of which anything is
    /// stored, some of them twice.
    pub(super) fn every_record(prefix: &str) -> String {
        let mut pattern = String::new();
        for letter in prefix.chars() {
            if matches!(letter, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
                pattern.push('\\');
            }
            pattern.push(letter);
        }
        format!("{pattern}*\0[{SIDE}{FENCE}]???")
    }

    /// The holder key that a key found by that belongs to.
    pub(super) fn lock_of_record(key: &str) -> Option<&str> {
        let (lock, kind) = key.split_once('\0')?;
        kind.starts_with([SIDE, FENCE]).then_some(lock)
    }
}

/// The key of what is stored about all locks with this prefix. No key of a lock ends
/// like that.
pub(super) fn epoch_key(prefix: &str) -> String {
    format!("{prefix}\0epoch")
}

/// A key of a lock in the cluster slot of the lock's own. If that has a hash tag
/// (`{…}`), the tag decides; otherwise the whole key does, and the last three
/// letters are such that they lead back to the slot. None of them is a brace.
fn beside(lock: &str, checksum_of_lock: u16, kind: char) -> String {
    let start = [0, kind as u8, 0, 0, 0];
    let off = checksum(checksum_of_lock, &start) ^ checksum_of_lock;
    let mut key = String::with_capacity(lock.len() + start.len());
    key.push_str(lock);
    key.push('\0');
    key.push(kind);
    key.extend(LETTERS[usize::from(off % SLOTS)].map(char::from));
    key
}

const SLOTS: u16 = 16_384;

/// For each slot three letters or digits that are in it. The checksum is linear:
/// put at the end of a key in place of three zero bytes, they move it by as much.
static LETTERS: LazyLock<Vec<[u8; 3]>> = LazyLock::new(|| {
    let mut letters = vec![[0; 3]; usize::from(SLOTS)];
    let all = || (b'0'..=b'z').filter(u8::is_ascii_alphanumeric);
    for one in all() {
        for two in all() {
            for three in all() {
                let some = [one, two, three];
                letters[usize::from(checksum(0, &some) % SLOTS)] = some;
            }
        }
    }
    letters
});

/// CRC16/XMODEM, whose remainder by 16384 is the slot, as the Redis cluster
/// specification has it; begun by the checksum of what comes before.
fn checksum(before: u16, bytes: &[u8]) -> u16 {
    let step = |crc: u16, byte: &u8| crc << 8 ^ BYTES[usize::from((crc >> 8) as u8 ^ byte)];
    bytes.iter().fold(before, step)
}

/// What each byte adds.
const BYTES: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = ((byte as u16) << 8, 0);
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// As the specification has it.
    fn slot(key: &str) -> u16 {
        let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        let hashed = tag.map(|(tag, _)| tag).filter(|tag| !tag.is_empty()).unwrap_or(key);
        checksum(0, hashed.as_bytes()) % SLOTS
    }

    /// Not equally often what can go wrong.
    fn odd_text(random: &mut u64, most: u64) -> String {
        let parts = [
            "",
            "a",
            "{",
            "}",
            "{}",
            ":",
            "leasehold:",
            "epoch",
            "side",
            "line",
            "s",
            "l",
            "A",
            "_",
            "sAAA",
            "lAAA",
            "🔒",
            "\u{1}",
            " ",
            "*",
            "?",
            "[",
            "\\",
            "\u{7f}",
            "é",
            "}:l",
        ];
        let mut next = |below: u64| {
            *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (*random >> 33) % below
        };
        let length = next(most + 1);
        (0..length).map(|_| parts[next(parts.len() as u64) as usize]).collect()
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot("123456789"), 0x31c3);
        assert_eq!(slot("{user1000}.following"), slot("{user1000}.followers"));
        assert_eq!(slot("foo{}{bar}"), checksum(0, b"foo{}{bar}") % SLOTS);
    }

    #[test]
    fn there_are_letters_for_every_slot() {
        for (slot, letters) in (0..SLOTS).zip(LETTERS.iter()) {
            assert!(letters.iter().all(u8::is_ascii_alphanumeric), "{slot}");
            assert_eq!(checksum(0, letters) % SLOTS, slot);
        }
    }

    /// Whatever the prefixes and the names, each key is of one lock and of one
    /// kind, and what is not the key of a lock cannot be made one.
    #[test]
    fn no_name_reaches_a_key_of_ours() {
        let mut random = 7;
        let mut locks: HashMap<String, Keys> = HashMap::new();
        let mut whose: HashMap<String, String> = HashMap::new();
        for _ in 0..100_000 {
            let prefix = odd_text(&mut random, 2);
            let name = odd_text(&mut random, 6);
            let keys = Keys::of(&prefix, &name);
            assert_eq!(keys.lock, format!("{prefix}{name}"));
            let all = [&keys.side, &keys.line, &keys.fence, &epoch_key(&prefix)];
            let owners = [&keys.lock, &keys.lock, &keys.lock, &prefix];
            for (key, owner) in all.map(String::clone).into_iter().zip(owners) {
                assert!(key.starts_with(&prefix), "an ACL for {prefix:?} covers {key:?}");
                assert!(crate::name::LockName::new(&key).is_err(), "{key:?} is a name");
                assert!((0..key.len()).filter(|at| key.is_char_boundary(*at)).all(|at| {
                    let (prefix, name) = key.split_at(at);
                    prefix.contains('\0') || crate::name::LockName::new(name).is_err()
                }));
                let kind = key.as_bytes()[owner.len() + 1];
                let owner = format!("{}{owner}", char::from(kind));
                assert_eq!(whose.entry(key).or_insert(owner.clone()), &owner);
            }
            assert!(keys.all().iter().all(|key| slot(key) == slot(&keys.lock)), "{keys:?}");
            assert_eq!(Keys::lock_of_record(&keys.side), Some(&*keys.lock), "{keys:?}");
            assert_eq!(Keys::lock_of_record(&keys.fence), Some(&*keys.lock), "{keys:?}");
            assert_eq!(Keys::lock_of_record(&keys.line), None, "{keys:?}");
            assert_eq!(Keys::lock_of_record(&epoch_key(&prefix)), None);
            // However it is cut into a prefix and a name.
            assert_eq!(locks.entry(keys.lock.clone()).or_insert(keys.clone()), &keys);
        }
        assert!(whose.keys().all(|key| !locks.contains_key(key)));
    }

    #[test]
    fn the_usual_keys_are_plain_to_read() {
        let keys = Keys::of("leasehold:", "invoices/42");
        assert_eq!(keys.lock, "leasehold:invoices/42");
        assert_eq!(keys.side.split_at(22), ("leasehold:invoices/42\0", &keys.side[22..]));
        assert_eq!((keys.side.len(), &keys.side[22..23], &keys.line[22..23]), (26, "s", "l"));
        assert_eq!((keys.fence.len(), &keys.fence[22..23]), (26, "f"));
        assert_eq!(epoch_key("leasehold:"), "leasehold:\0epoch");
        assert_eq!(Keys::every_record("a*b"), "a\\*b*\0[sf]???");
    }
}
