//! The protocol of Redis: RESP2, and RESP3 as far as servers send it.

use std::io;

/// What a server answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Nothing there.
    Nil,
    /// A number; a boolean is 0 or 1.
    Int(i64),
    /// A string; what is not UTF-8 in it is replaced.
    Text(String),
    /// A word like `OK`.
    Status(String),
    /// A refusal, with its code in front.
    Error(String),
    /// An array or a set, or the keys and values of a map in turn.
    List(Vec<Reply>),
    /// RESP3: what the server says unasked.
    Push(Vec<Reply>),
}

impl Reply {
    /// A string to compare with.
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// A word to compare with.
    pub fn status(word: &str) -> Self {
        Self::Status(word.to_owned())
    }

    /// Strings and words.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Status(text) => Some(text),
            _ => None,
        }
    }

    /// Numbers.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(int) => Some(*int),
            _ => None,
        }
    }

    /// Elements of a list or a push.
    pub fn as_list(&self) -> Option<&[Reply]> {
        match self {
            Self::List(list) | Self::Push(list) => Some(list),
            _ => None,
        }
    }

    /// Whether it is a refusal.
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }
}

/// A command as clients send it.
pub fn encode<A: AsRef<[u8]>>(arguments: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        let argument = argument.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The reply at the start of the bytes and its length; `None` if it is not all there.
pub fn parse_reply(bytes: &[u8]) -> io::Result<Option<(Reply, usize)>> {
    let mut cursor = Cursor { bytes, at: 0 };
    let reply = cursor.reply()?;
    Ok(reply.map(|reply| (reply, cursor.at)))
}

/// The command at the start of the bytes and its length; `None` if it is not all there.
pub fn parse_command(bytes: &[u8]) -> io::Result<Option<(Vec<Vec<u8>>, usize)>> {
    let mut cursor = Cursor { bytes, at: 0 };
    let arguments = cursor.command()?;
    Ok(arguments.map(|arguments| (arguments, cursor.at)))
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn line(&mut self) -> Option<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        self.at += end + 2;
        Some(&rest[..end])
    }

    fn bulk(&mut self, length: usize) -> Option<&'a [u8]> {
        let bulk = self.bytes.get(self.at..self.at + length + 2)?;
        self.at += length + 2;
        Some(&bulk[..length])
    }

    fn command(&mut self) -> io::Result<Option<Vec<Vec<u8>>>> {
        let Some(line) = self.line() else { return Ok(None) };
        let Some(count) = line.strip_prefix(b"*") else {
            // As people type it into a raw socket.
            let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            return Ok(Some(words.map(<[u8]>::to_vec).collect()));
        };
        let mut arguments = Vec::new();
        for _ in 0..number(count)? {
            let Some(line) = self.line() else { return Ok(None) };
            let length = line.strip_prefix(b"$").ok_or_else(|| garbage(line))?;
            let length = usize::try_from(number(length)?).map_err(|_| garbage(line))?;
            let Some(argument) = self.bulk(length) else { return Ok(None) };
            arguments.push(argument.to_vec());
        }
        Ok(Some(arguments))
    }

    fn reply(&mut self) -> io::Result<Option<Reply>> {
        let Some(line) = self.line() else { return Ok(None) };
        let Some((kind, rest)) = line.split_first() else { return Err(garbage(line)) };
        Ok(Some(match kind {
            b'+' => Reply::Status(lossy(rest)),
            b'-' => Reply::Error(lossy(rest)),
            b':' => Reply::Int(number(rest)?),
            b'#' => Reply::Int(i64::from(rest == b"t")),
            b',' | b'(' => Reply::Text(lossy(rest)),
            b'_' => Reply::Nil,
            b'$' | b'!' | b'=' => {
                let Ok(length) = usize::try_from(number(rest)?) else {
                    return Ok(Some(Reply::Nil));
                };
                let Some(bulk) = self.bulk(length) else { return Ok(None) };
                match kind {
                    b'!' => Reply::Error(lossy(bulk)),
                    // Three letters and a colon say what kind of text follows.
                    b'=' => Reply::Text(lossy(bulk.get(4..).unwrap_or_default())),
                    _ => Reply::Text(lossy(bulk)),
                }
            }
            b'*' | b'~' | b'%' | b'>' | b'|' => return self.elements(*kind, number(rest)?),
            _ => return Err(garbage(line)),
        }))
    }

    fn elements(&mut self, kind: u8, count: i64) -> io::Result<Option<Reply>> {
        if count < 0 {
            return Ok(Some(Reply::Nil));
        }
        let each = if matches!(kind, b'%' | b'|') { 2 } else { 1 };
        let mut elements = Vec::new();
        for _ in 0..count * each {
            let Some(element) = self.reply()? else { return Ok(None) };
            elements.push(element);
        }
        match kind {
            b'>' => Ok(Some(Reply::Push(elements))),
            // Attributes stand before the reply that they describe.
            b'|' => self.reply(),
            _ => Ok(Some(Reply::List(elements))),
        }
    }
}

fn number(digits: &[u8]) -> io::Result<i64> {
    let text = std::str::from_utf8(digits).map_err(|_| garbage(digits))?;
    text.parse().map_err(|_| garbage(digits))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn garbage(line: &[u8]) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not RESP: {:?}", lossy(line)))
}
