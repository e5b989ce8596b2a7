//! The encoding that ZooKeeper's protocol uses, "jute": numbers with the largest byte
//! first, and texts, bytes and lists after their length.
//!
//! See `zookeeper.jute` of ZooKeeper's sources. Whatever comes in, a length is compared
//! with what is there before anything is made of it.

/// What comes in is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Writes one message.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// A message whose length stands before it.
    pub(super) fn framed() -> Self {
        Self(vec![0; 4])
    }

    pub(super) fn int(mut self, value: i32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn long(mut self, value: i64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(super) fn bool(mut self, value: bool) -> Self {
        self.0.push(u8::from(value));
        self
    }

    pub(super) fn bytes(self, value: &[u8]) -> Self {
        // What we send is short: names, labels, passwords.
        let mut writer = self.int(i32::try_from(value.len()).unwrap_or(i32::MAX));
        writer.0.extend_from_slice(value);
        writer
    }

    pub(super) fn text(self, value: &str) -> Self {
        self.bytes(value.as_bytes())
    }

    /// The whole message, with its length.
    pub(super) fn end(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len() - 4).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}

/// Reads one message.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    pub(super) fn int(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn long(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes)
    }

    pub(super) fn bool(&mut self) -> Result<bool, Malformed> {
        match self.array::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Malformed),
        }
    }

    /// A length of -1 stands for nothing at all.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        match self.int()? {
            -1 => Ok(&[]),
            length => self.take(usize::try_from(length).map_err(|_| Malformed)?),
        }
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }

    pub(super) fn texts(&mut self) -> Result<Vec<String>, Malformed> {
        let count = match self.int()? {
            -1 => 0,
            count => usize::try_from(count).map_err(|_| Malformed)?,
        };
        // Each has a length of four bytes at least.
        if count > self.0.len() / 4 {
            return Err(Malformed);
        }
        (0..count).map(|_| self.text().map(str::to_owned)).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// That is all of it.
    pub(super) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let message =
            Writer::framed().int(-7).long(1 << 40).bool(true).text("é").bytes(&[0, 255]).end();
        assert_eq!(message[..4], (message.len() as u32 - 4).to_be_bytes());
        let mut reader = Reader::of(&message[4..]);
        assert_eq!(reader.int(), Ok(-7));
        assert_eq!(reader.long(), Ok(1 << 40));
        assert_eq!(reader.bool(), Ok(true));
        assert_eq!(reader.text(), Ok("é"));
        assert_eq!(reader.bytes(), Ok(&[0, 255][..]));
        assert_eq!(reader.end(), Ok(()));
    }

    #[test]
    fn no_length_is_believed() {
        for length in [i32::MAX, i32::MIN, -2, 5] {
            let message = Writer::default().int(length).int(0).0;
            assert_eq!(Reader::of(&message).bytes(), Err(Malformed), "{length}");
            assert_eq!(Reader::of(&message).texts(), Err(Malformed), "{length}");
        }
        assert_eq!(Reader::of(&[0, 0, 0]).int(), Err(Malformed));
        assert_eq!(Reader::of(&[2]).bool(), Err(Malformed));
        assert_eq!(Reader::of(&[0, 0, 0, 1, 0xff]).text(), Err(Malformed));
        assert_eq!(Reader::of(&[1]).end(), Err(Malformed));
    }
}
