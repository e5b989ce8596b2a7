//! What a lease is when it is on its way from one process to another: a text.
//!
//! `lh1.` and then, in the letters of a URL, all that the one who adopts it has to
//! know, and a checksum. The number is the version of what follows it.

use std::fmt;
use std::time::Duration;

use crate::backend::Mode;
use crate::error::{Error, Kind};
use crate::name::{LockName, Owner};

/// A lease on its way to another process, which goes on with it by
/// [`Client::adopt`](crate::Client::adopt).
///
/// It is a text of some hundred ASCII letters, digits, `.`, `-` and `_`, for one use.
/// Treat it as a secret: whoever has it can take the lease. So it is not shown by
/// `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket(String);

impl Ticket {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Ticket {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<Ticket> for String {
    fn from(ticket: Ticket) -> Self {
        ticket.0
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(secret)")
    }
}

/// What a ticket says.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) struct Content {
    /// The kind of backend that has the lease.
    pub(crate) scheme: String,
    pub(crate) name: LockName,
    /// Who holds it until it is adopted.
    pub(crate) owner: Owner,
    pub(crate) mode: Mode,
    pub(crate) fence: u64,
    pub(crate) slot: u32,
    /// What it is renewed by, from its adoption on.
    pub(crate) ttl: Duration,
    pub(crate) delay: Duration,
    /// What is left of it.
    pub(crate) max_hold: Option<Duration>,
    pub(crate) auto_renew: bool,
    pub(crate) label: String,
}

const FAMILY: &str = "lh";
const VERSION: &str = "1";
const CHECKSUM: usize = 4;

impl Content {
    pub(crate) fn ticket(&self) -> Ticket {
        let mut bytes = Vec::new();
        put_text(&mut bytes, &self.scheme);
        put_text(&mut bytes, self.name.as_str());
        bytes.extend(self.owner.bits().to_be_bytes());
        bytes.extend(self.mode.code().to_be_bytes());
        bytes.extend(self.fence.to_be_bytes());
        bytes.extend(self.slot.to_be_bytes());
        put_span(&mut bytes, self.ttl);
        put_span(&mut bytes, self.delay);
        put_span(&mut bytes, self.max_hold.unwrap_or(Duration::MAX));
        bytes.push(self.auto_renew.into());
        put_text(&mut bytes, &self.label);
        bytes.extend(checksum(&bytes));
        Ticket(format!("{FAMILY}{VERSION}.{}", letters(&bytes)))
    }

    /// What a ticket says that somebody has brought.
    ///
    /// # Errors
    /// `invalid` for what is no ticket, or not a whole one; `refused` for one of a
    /// version that this one does not know.
    pub(crate) fn read(text: &str) -> Result<Self, Error> {
        let parts = text.strip_prefix(FAMILY).and_then(|rest| rest.split_once('.'));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let Some((version, body)) = parts.filter(|(version, _)| is_number(version)) else {
            return Err(no_ticket());
        };
        if version != VERSION {
            return Err(Error::new(
                Kind::Refused,
                format!(
                    "the ticket is of version {version}, and this version of Leasehold knows \
                     {VERSION} only; upgrade the process that adopts it"
                ),
            ));
        }
        let bytes = bytes(body).filter(|bytes| letters(bytes) == body).ok_or_else(no_ticket)?;
        let Some((bytes, sum)) = bytes.split_last_chunk::<CHECKSUM>() else {
            return Err(no_ticket());
        };
        if checksum(bytes) != *sum {
            return Err(no_ticket());
        }
        Self::parse(&mut Bytes(bytes)).ok_or_else(no_ticket)
    }

    fn parse(bytes: &mut Bytes<'_>) -> Option<Self> {
        let content = Self {
            scheme: bytes.text()?,
            name: LockName::new(&bytes.text()?).ok()?,
            owner: Owner::from_bits(u128::from_be_bytes(bytes.take()?)),
            mode: Mode::from_code(i64::from_be_bytes(bytes.take()?)),
            fence: u64::from_be_bytes(bytes.take()?),
            slot: u32::from_be_bytes(bytes.take()?),
            ttl: bytes.span()?,
            delay: bytes.span()?,
            max_hold: Some(bytes.span()?).filter(|most| *most != Duration::MAX),
            auto_renew: bytes.take::<1>()? != [0],
            label: bytes.text()?,
        };
        bytes.0.is_empty().then_some(content)
    }
}

fn no_ticket() -> Error {
    Error::invalid(
        "this is no ticket, or not a whole one: it was cut or changed on its way; pass the text \
         that into_ticket gave as it is",
    )
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn text(&mut self) -> Option<String> {
        let length = u16::from_be_bytes(self.take()?);
        let (text, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).ok()
    }

    fn span(&mut self) -> Option<Duration> {
        Some(match u64::from_be_bytes(self.take()?) {
            u64::MAX => Duration::MAX,
            nanos => Duration::from_nanos(nanos),
        })
    }
}

/// None of the texts in a ticket is longer than a name.
fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u16).to_be_bytes());
    bytes.extend(text.as_bytes());
}

fn put_span(bytes: &mut Vec<u8>, span: Duration) {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    bytes.extend(nanos.to_be_bytes());
}

/// CRC-32, against accidents.
fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let sum = bytes.iter().fold(u32::MAX, |sum, byte| {
        let step = |sum: u32, _| sum >> 1 ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
        (0..8).fold(sum ^ u32::from(*byte), step)
    });
    (!sum).to_be_bytes()
}

/// Base64 as URLs have it, without padding.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn letters(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for some in bytes.chunks(3) {
        let bits = some.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - some.len()));
        let letter = |at: usize| char::from(LETTERS[(bits >> (18 - 6 * at) & 63) as usize]);
        text.extend((0..=some.len()).map(letter));
    }
    text
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for some in text.as_bytes().chunks(4) {
        let mut bits = 0;
        for letter in some {
            bits = bits << 6 | LETTERS.iter().position(|known| known == letter)? as u32;
        }
        let bits = bits << (6 * (4 - some.len()));
        bytes.extend(&bits.to_be_bytes()[1..some.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents() -> [Content; 2] {
        let one = Content {
            scheme: "redis".into(),
            name: LockName::new("invoices/42 🔒").unwrap(),
            owner: Owner::from_bits(0xfeed << 64 | 7),
            mode: Mode::Exclusive,
            fence: u64::MAX - 1,
            slot: 0,
            ttl: Duration::from_millis(1500),
            delay: Duration::ZERO,
            max_hold: None,
            auto_renew: true,
            label: "".into(),
        };
        let other = Content {
            name: LockName::new(&"x".repeat(LockName::MAX_BYTES)).unwrap(),
            mode: Mode::Counted { permits: 1000 },
            slot: 999,
            delay: Duration::from_secs(86_390),
            max_hold: Some(Duration::from_nanos(1)),
            auto_renew: false,
            label: "é".repeat(128),
            ..one.clone()
        };
        [one, other]
    }

    #[test]
    fn a_ticket_says_what_was_written_in_letters_that_need_no_quoting() {
        for content in contents() {
            let ticket = content.ticket();
            assert_eq!(Content::read(ticket.as_str()).unwrap(), content);
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            assert!(ticket.as_str().bytes().all(is_plain), "{}", ticket.as_str());
            assert_eq!(format!("{ticket:?}"), "Ticket(secret)");
        }
        assert!(contents()[0].ticket().as_str().len() < 150);
    }

    #[test]
    fn what_was_cut_or_mistyped_anywhere_is_no_ticket() {
        let ticket = String::from(contents()[0].ticket());
        let is_invalid = |text: &str| match Content::read(text) {
            Err(error) => {
                // It is a secret, also when it is not whole.
                let is_shown = text.len() > 16 && error.to_string().contains(text);
                error.kind() == Kind::Invalid && !is_shown
            }
            Ok(_) => false,
        };
        for at in 1..ticket.len() {
            assert!(is_invalid(&ticket[..at]) && is_invalid(&ticket[at..]), "cut at {at}");
        }
        for at in 4..ticket.len() {
            for letter in ["A", "z", "-", " ", "%", "."] {
                let mut typed = ticket.clone();
                typed.replace_range(at..=at, letter);
                assert!(typed == ticket || is_invalid(&typed), "{letter:?} at {at}");
            }
            let mut swapped = ticket.clone().into_bytes();
            swapped.swap(at, at - 1);
            let swapped = String::from_utf8(swapped).unwrap();
            assert!(swapped == ticket || is_invalid(&swapped), "swapped at {at}");
        }
        for text in ["lh", "lh1", "lh1.", "lh1.AAAA", "lhx.AAAA", "LH1.AAAA", "é"] {
            assert!(is_invalid(text), "{text:?}");
        }
        assert!(is_invalid(&format!("{ticket}\n")) && is_invalid(&format!("{ticket}A")));
    }

    #[test]
    fn one_of_another_version_is_refused_with_the_cure() {
        for version in ["0", "2", "10"] {
            let error = Content::read(&format!("lh{version}.whatever")).err().unwrap();
            assert_eq!(error.kind(), Kind::Refused);
            let message = error.to_string();
            assert!(message.contains(&format!("version {version}")), "{message}");
            assert!(message.contains("upgrade"), "{message}");
        }
    }
}
