//! A command as it is sent: its words, each after its length.

use crate::name::Owner;

/// Words that are encoded one by one.
pub(super) struct Command {
    /// Begins with room for the number of the words.
    bytes: Vec<u8>,
    words: usize,
}

/// What `*NUMBER\r\n` takes at most.
const HEAD: usize = 23;
/// What a claim takes, so that it is put aside once.
const USUAL: usize = 512;

impl Command {
    pub(super) fn of(words: &[&str]) -> Self {
        let length: usize = words.iter().map(|word| word.len() + 16).sum();
        let mut command = Self::with_capacity(length.max(USUAL));
        words.iter().for_each(|word| command.add(*word));
        command
    }

    fn with_capacity(bytes: usize) -> Self {
        let mut start = Vec::with_capacity(HEAD + bytes);
        start.resize(HEAD, 0);
        Self { bytes: start, words: 0 }
    }

    pub(super) fn add(&mut self, word: impl Word) {
        word.add_to(self);
    }

    /// A word that consists of these parts.
    pub(super) fn join(&mut self, parts: &[&[u8]]) {
        self.bytes.push(b'$');
        self.digits(parts.iter().map(|part| part.len() as u64).sum());
        self.bytes.extend_from_slice(b"\r\n");
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.bytes.extend_from_slice(b"\r\n");
        self.words += 1;
    }

    fn digits(&mut self, number: u64) {
        let (digits, from) = digits(number);
        self.bytes.extend_from_slice(&digits[from..]);
    }

    /// All of it, as it is sent.
    pub(super) fn packed(&mut self) -> &[u8] {
        let (digits, from) = digits(self.words as u64);
        let number = &digits[from..];
        let start = HEAD - number.len() - 3;
        self.bytes[start] = b'*';
        self.bytes[start + 1..HEAD - 2].copy_from_slice(number);
        self.bytes[HEAD - 2..HEAD].copy_from_slice(b"\r\n");
        &self.bytes[start..]
    }

    /// How far it is by now, to go on from there in another command.
    pub(super) fn mark(&self) -> Mark {
        Mark { at: self.bytes.len(), words: self.words }
    }

    /// What comes after a mark in another command.
    pub(super) fn extend_from(&mut self, other: &Self, mark: &Mark) {
        self.bytes.extend_from_slice(&other.bytes[mark.at..]);
        self.words += other.words - mark.words;
    }
}

/// A place between two words of a command.
pub(super) struct Mark {
    at: usize,
    words: usize,
}

/// The decimal digits of a number, from some place on.
fn digits(mut number: u64) -> ([u8; 20], usize) {
    let (mut digits, mut from) = ([b'0'; 20], 20);
    loop {
        from -= 1;
        digits[from] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return (digits, from);
        }
    }
}

/// What can be a word of a command; `None` is none.
pub(super) trait Word {
    fn add_to(&self, command: &mut Command);
}

impl Word for &str {
    fn add_to(&self, command: &mut Command) {
        command.join(&[self.as_bytes()]);
    }
}

impl Word for &String {
    fn add_to(&self, command: &mut Command) {
        command.join(&[self.as_bytes()]);
    }
}

impl Word for u64 {
    fn add_to(&self, command: &mut Command) {
        let (digits, from) = digits(*self);
        command.join(&[&digits[from..]]);
    }
}

impl Word for Owner {
    fn add_to(&self, command: &mut Command) {
        command.join(&[&hex(self.bits())]);
    }
}

impl<T: Word> Word for Option<T> {
    fn add_to(&self, command: &mut Command) {
        if let Some(word) = self {
            word.add_to(command);
        }
    }
}

/// Several texts that are one word.
impl<const N: usize> Word for [&str; N] {
    fn add_to(&self, command: &mut Command) {
        command.join(&self.map(str::as_bytes));
    }
}

/// Which request of a connection it is, in as many letters as it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number(pub(super) u64);

impl Number {
    /// Whether that is what the server wrote.
    pub(super) fn is(self, text: &[u8]) -> bool {
        let (letters, from) = self.letters();
        &letters[from..] == text
    }

    fn letters(self) -> ([u8; 32], usize) {
        let letters = hex(self.0.into());
        (letters, 31.min(16 + self.0.leading_zeros() as usize / 4))
    }
}

impl Word for Number {
    fn add_to(&self, command: &mut Command) {
        let (letters, from) = self.letters();
        command.join(&[&letters[from..]]);
    }
}

fn hex(bits: u128) -> [u8; 32] {
    const LETTERS: &[u8; 16] = b"0123456789abcdef";
    let mut hex = [0; 32];
    for (byte, pair) in bits.to_be_bytes().into_iter().zip(hex.chunks_exact_mut(2)) {
        pair[0] = LETTERS[usize::from(byte >> 4)];
        pair[1] = LETTERS[usize::from(byte & 15)];
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(mut command: Command) -> String {
        String::from_utf8(command.packed().to_vec()).unwrap()
    }

    #[test]
    fn words_are_encoded_as_the_protocol_has_them() {
        let mut command = Command::of(&["SET", "é\r\n", ""]);
        command.add(0);
        command.add(u64::MAX);
        command.add(None::<&str>);
        command.add(["a", " ", "b"]);
        let expected = "*6\r\n$3\r\nSET\r\n$4\r\né\r\n\r\n$0\r\n\r\n$1\r\n0\r\n\
                        $20\r\n18446744073709551615\r\n$3\r\na b\r\n";
        assert_eq!(packed(command), expected);
        let mut many = Command::with_capacity(0);
        (0..2000).for_each(|_| many.add("x"));
        assert!(packed(many).starts_with("*2000\r\n$1\r\nx\r\n"));
    }

    #[test]
    fn what_comes_after_a_mark_goes_on_in_another_command() {
        let mut command = Command::of(&["EVALSHA", "hash"]);
        let mark = command.mark();
        command.add("a");
        command.add(7);
        let mut other = Command::of(&["EVAL"]);
        other.extend_from(&command, &mark);
        assert_eq!(packed(other), "*3\r\n$4\r\nEVAL\r\n$1\r\na\r\n$1\r\n7\r\n");
    }

    #[test]
    fn owners_and_numbers_are_hexadecimal() {
        let owner = Owner::from_bits(0x0123_4567_89ab_cdef << 40);
        let mut command = Command::with_capacity(0);
        command.add(owner);
        assert_eq!(packed(command), format!("*1\r\n$32\r\n{owner}\r\n"));
        for number in [0, 1, 15, 16, 255, 256, 0xabc_def0, u64::MAX] {
            let text = format!("{number:x}");
            let mut command = Command::with_capacity(0);
            command.add(Number(number));
            assert_eq!(packed(command), format!("*1\r\n${}\r\n{text}\r\n", text.len()));
            let is = |text: &str| Number(number).is(text.as_bytes());
            assert!(is(&text) && !is(&format!("0{text}")) && !is("") && !is(&format!("{text}0")));
        }
    }
}
