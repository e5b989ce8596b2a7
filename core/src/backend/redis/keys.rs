//! What a lock's records are called. The holder key is the plain key of the
//! published Redlock algorithm, `PREFIX` + `NAME`. What else is stored about the
//! lock begins with that key and goes on with a NUL, which neither a prefix nor a
//! name can hold: so no name reaches it, and a pattern for the prefix covers it.

use std::fmt;
use std::sync::LazyLock;

use super::command::{Command, Word};

/// The keys of one lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keys<'a> {
    prefix: &'a str,
    name: &'a str,
    checksum: u16,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key<'a> {
    prefix: &'a str,
    name: &'a str,
    rest: [u8; 5],
    /// How much of the rest there is.
    more: usize,
}

const SIDE: char = 's';
const LINE: char = 'l';
const FENCE: char = 'f';
const TURN: char = 't';
const ENDS: char = 'e';

impl<'a> Keys<'a> {
    pub(super) fn of(prefix: &'a str, name: &'a str) -> Self {
        let checksum = checksum(checksum(0, prefix.as_bytes()), name.as_bytes());
        Self { prefix, name, checksum }
    }

    /// A string, the owner and who that is: `SET key value NX PX ttl`.
    pub(super) fn lock(&self) -> Key<'a> {
        Key { prefix: self.prefix, name: self.name, rest: [0; 5], more: 0 }
    }

    /// A hash: the places in the line. On a node of a quorum also the last fence.
    pub(super) fn side(&self) -> Key<'a> {
        self.beside(SIDE)
    }

    /// A sorted set: the owners that wait, in their order.
    pub(super) fn line(&self) -> Key<'a> {
        self.beside(LINE)
    }

    /// A string: the last fence.
    pub(super) fn fence(&self) -> Key<'a> {
        self.beside(FENCE)
    }

    /// A hash: those who share the lock on a node of a quorum.
    pub(super) fn turn(&self) -> Key<'a> {
        self.beside(TURN)
    }

    /// A sorted set: when each of those ends.
    pub(super) fn ends(&self) -> Key<'a> {
        self.beside(ENDS)
    }

    /// In the order in which the scripts take them.
    pub(super) fn all(&self) -> [Key<'a>; 4] {
        [self.lock(), self.side(), self.line(), self.fence()]
    }

    /// Those of a node of a quorum.
    pub(super) fn of_node(&self) -> [Key<'a>; 3] {
        [self.lock(), self.side(), self.line()]
    }

    /// The same, and those of who shares the lock.
    pub(super) fn of_sharing_node(&self) -> [Key<'a>; 5] {
        [self.lock(), self.side(), self.line(), self.turn(), self.ends()]
    }

    /// All that there may be of a lock, whatever the server is.
    pub(super) fn of_any(&self) -> [Key<'a>; 6] {
        let [lock, side, line, fence] = self.all();
        [lock, side, line, fence, self.turn(), self.ends()]
    }

    /// A key in the cluster slot of the lock's own. If that has a hash tag (`{…}`), the
    /// tag decides; otherwise the whole key does, and the last three letters are such
    /// that they lead back to the slot. None of them is a brace.
    fn beside(&self, kind: char) -> Key<'a> {
        let start = [0, kind as u8, 0, 0, 0];
        let off = checksum(self.checksum, &start) ^ self.checksum;
        let [one, two, three] = LETTERS[usize::from(off % SLOTS)];
        Key { rest: [0, kind as u8, one, two, three], more: 5, ..self.lock() }
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

impl Word for Key<'_> {
    fn add_to(&self, command: &mut Command) {
        let rest = &self.rest[..self.more];
        command.join(&[self.prefix.as_bytes(), self.name.as_bytes(), rest]);
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = self.rest[..self.more].iter().map(|byte| char::from(*byte));
        write!(f, "{}{}{}", self.prefix, self.name, rest.collect::<String>())
    }
}

/// The key of what is stored about all locks with this prefix. No key of a lock ends
/// like that.
pub(super) fn epoch_key(prefix: &str) -> String {
    format!("{prefix}\0epoch")
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
        let mut locks: HashMap<String, [String; 3]> = HashMap::new();
        let mut whose: HashMap<String, String> = HashMap::new();
        for _ in 0..100_000 {
            let prefix = odd_text(&mut random, 2);
            let name = odd_text(&mut random, 6);
            let keys = Keys::of(&prefix, &name);
            let [lock, side, line, fence] = keys.all().map(|key| key.to_string());
            assert_eq!(lock, format!("{prefix}{name}"));
            let all = [&side, &line, &fence, &epoch_key(&prefix)];
            let owners = [&lock, &lock, &lock, &prefix];
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
            assert!(all.iter().take(3).all(|key| slot(key) == slot(&lock)), "{keys:?}");
            assert_eq!(Keys::lock_of_record(&side), Some(&*lock), "{keys:?}");
            assert_eq!(Keys::lock_of_record(&fence), Some(&*lock), "{keys:?}");
            assert_eq!(Keys::lock_of_record(&line), None, "{keys:?}");
            assert_eq!(Keys::lock_of_record(&epoch_key(&prefix)), None);
            // However it is cut into a prefix and a name.
            let others = [side, line, fence];
            assert_eq!(locks.entry(lock).or_insert(others.clone()), &others);
        }
        assert!(whose.keys().all(|key| !locks.contains_key(key)));
    }

    #[test]
    fn the_usual_keys_are_plain_to_read() {
        let keys = Keys::of("leasehold:", "invoices/42");
        let [lock, side, line, fence] = keys.all().map(|key| key.to_string());
        assert_eq!(lock, "leasehold:invoices/42");
        assert_eq!(side.split_at(22), ("leasehold:invoices/42\0", &side[22..]));
        assert_eq!((side.len(), &side[22..23], &line[22..23]), (26, "s", "l"));
        assert_eq!((fence.len(), &fence[22..23]), (26, "f"));
        assert_eq!(epoch_key("leasehold:"), "leasehold:\0epoch");
        assert_eq!(Keys::every_record("a*b"), "a\\*b*\0[sf]???");
    }
}
