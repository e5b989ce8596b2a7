//! ZooKeeper's wire format, as little of it as the rig needs; written apart from the
//! library's, so that the two do not share a mistake.

use std::io;

/// What is sent, but for its length.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn int(mut self, value: i32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn long(mut self, value: i64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn bool(mut self, value: bool) -> Self {
        self.0.push(value.into());
        self
    }

    pub(super) fn bytes(self, value: &[u8]) -> Self {
        let mut writer = self.int(value.len() as i32);
        writer.0.extend(value);
        writer
    }

    pub(super) fn text(self, value: &str) -> Self {
        self.bytes(value.as_bytes())
    }

    /// With its length before it.
    pub(super) fn framed(self) -> Vec<u8> {
        Self::default().bytes(&self.0).0
    }
}

/// What has come.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn int(&mut self) -> io::Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into().expect("four bytes")))
    }

    pub(super) fn long(&mut self) -> io::Result<i64> {
        Ok(i64::from_be_bytes(self.take(8)?.try_into().expect("eight bytes")))
    }

    /// Nothing is written as a length of -1.
    pub(super) fn bytes(&mut self) -> io::Result<&'a [u8]> {
        let length = self.int()?.max(0);
        self.take(length as usize)
    }

    pub(super) fn text(&mut self) -> io::Result<String> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(io::Error::other)
    }

    pub(super) fn texts(&mut self) -> io::Result<Vec<String>> {
        (0..self.int()?).map(|_| self.text()).collect()
    }
}

/// The password of a session, which servers make of its number: Java's random numbers,
/// from a seed that is the same everywhere.
pub(super) fn password(session: i64) -> [u8; 16] {
    const MASK: u64 = (1 << 48) - 1;
    let mut seed = (session as u64 ^ 0xB341_5C00 ^ 0x5_DEEC_E66D) & MASK;
    let mut password = [0; 16];
    for four in password.chunks_mut(4) {
        seed = seed.wrapping_mul(0x5_DEEC_E66D).wrapping_add(0xB) & MASK;
        four.copy_from_slice(&((seed >> 16) as u32).to_le_bytes());
    }
    password
}
