//! The protocol of Redis as it comes from a server: RESP2 and RESP3.
//!
//! What it costs is bounded whatever is sent: a frame has a largest size and a
//! largest depth, nothing is set aside for what is only announced, and what
//! nobody here listens to is dropped piece by piece as it comes.

use ::redis::Value;
use bytes::{Buf, BytesMut};

/// What came from a server.
#[derive(Debug, PartialEq)]
pub(super) enum Frame {
    /// The answer to a request.
    Answer(Value),
    /// A refusal: its code, and what follows.
    Refusal(String),
    /// A message on a channel, or what confirms a subscription. Its first word
    /// says which; the rest is as the server sends it.
    Push(Vec<Value>),
    /// Anything else that a server says unasked.
    Foreign,
}

/// A frame that needs more memory than this is none of ours.
const LARGEST: usize = 256 * 1024 * 1024;
/// What an element costs besides its text.
const ELEMENT: usize = size_of::<Value>();
/// Answers of ours are nested three deep, those of HELLO five.
const DEEPEST: usize = 16;
/// Of everything that has no length before it.
const LONGEST_LINE: usize = 64 * 1024;
/// The pushes that are listened to.
const HEARD: [&[u8]; 3] = [b"message", b"subscribe", b"unsubscribe"];

/// Reads frames from what has come so far.
pub(super) struct Decoder {
    /// More than so many bytes in one frame are an error.
    most: usize,
    /// The lists that have begun, the outermost first.
    open: Vec<List>,
    /// A text that has begun.
    text: Option<Text>,
    /// So much is to be dropped of what comes next.
    skip: usize,
    /// So much has come without the end of its line.
    searched: usize,
    /// What the frame costs so far.
    cost: usize,
}

struct List {
    kind: Kind,
    /// How many elements are still to come.
    left: u64,
    elements: Vec<Value>,
    /// Nobody listens.
    is_foreign: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Array,
    Set,
    Map,
    Push,
}

/// A text of known length.
#[derive(Clone, Copy)]
struct Text {
    kind: u8,
    length: usize,
}

/// What is complete.
enum Piece {
    Value(Value),
    Refusal(String),
    /// Of no interest.
    Dropped,
}

/// How far the next piece is.
enum Step {
    /// More must come.
    Wait,
    /// The length of a list or a text has come.
    Begun,
    Complete(Piece),
}

impl Default for Decoder {
    fn default() -> Self {
        let (open, text) = (Vec::new(), None);
        Self { most: LARGEST, open, text, skip: 0, searched: 0, cost: 0 }
    }
}

impl Decoder {
    /// The next frame, if all of it has come. An error is not recovered from.
    pub(super) fn next(&mut self, bytes: &mut BytesMut) -> Result<Option<Frame>, String> {
        loop {
            if self.skip > 0 {
                let now = self.skip.min(bytes.len());
                bytes.advance(now);
                self.skip -= now;
                if self.skip > 0 {
                    return Ok(None);
                }
                if let Some(frame) = self.close(Piece::Dropped)? {
                    return Ok(Some(frame));
                }
                continue;
            }
            let step = match self.text {
                Some(text) => self.rest_of(text, bytes)?,
                None => self.line(bytes)?,
            };
            match step {
                Step::Wait => return Ok(None),
                Step::Begun => {}
                Step::Complete(piece) => {
                    if let Some(frame) = self.close(piece)? {
                        return Ok(Some(frame));
                    }
                }
            }
        }
    }

    /// The next line.
    fn line(&mut self, bytes: &mut BytesMut) -> Result<Step, String> {
        let from = self.searched.saturating_sub(1);
        let end = bytes[from..].windows(2).position(|pair| pair == b"\r\n");
        let Some(end) = end.map(|end| from + end) else {
            self.searched = bytes.len();
            return match bytes.len() > LONGEST_LINE {
                true => Err("a line without an end".to_owned()),
                false => Ok(Step::Wait),
            };
        };
        self.searched = 0;
        let line = bytes.split_to(end + 2);
        let Some((kind, rest)) = line[..end].split_first() else {
            return Err("an empty line".to_owned());
        };
        let piece = match kind {
            b'*' | b'~' | b'%' | b'>' => return self.begin(*kind, rest),
            b'$' | b'=' | b'!' => return self.begin_text(*kind, rest),
            b'+' if rest == b"OK" => Piece::Value(Value::Okay),
            b'+' => Piece::Value(Value::SimpleString(text(rest)?.to_owned())),
            b'-' => Piece::Refusal(String::from_utf8_lossy(rest).into_owned()),
            b':' => Piece::Value(Value::Int(number(rest)?)),
            b'_' if rest.is_empty() => Piece::Value(Value::Nil),
            b'#' if rest == b"t" => Piece::Value(Value::Boolean(true)),
            b'#' if rest == b"f" => Piece::Value(Value::Boolean(false)),
            b',' => Piece::Value(Value::Double(
                text(rest)?.parse().map_err(|_| strange("a number", rest))?,
            )),
            b'(' => Piece::Value(Value::SimpleString(text(rest)?.to_owned())),
            _ => return Err(strange("a line", &line[..end])),
        };
        self.spend(rest.len())?;
        Ok(Step::Complete(piece))
    }

    /// A list begins; an empty one is complete.
    fn begin(&mut self, kind: u8, rest: &[u8]) -> Result<Step, String> {
        let length = number(rest)?;
        if (kind, length) == (b'*', -1) {
            return Ok(Step::Complete(Piece::Value(Value::Nil)));
        }
        let mut left = u64::try_from(length).map_err(|_| strange("a length", rest))?;
        let kind = match kind {
            b'~' => Kind::Set,
            b'%' => Kind::Map,
            b'>' => Kind::Push,
            _ => Kind::Array,
        };
        if kind == Kind::Map {
            left = left.saturating_mul(2);
        }
        if self.open.len() >= DEEPEST {
            return Err("lists too deep in each other".to_owned());
        }
        if kind == Kind::Push && (left == 0 || !self.open.is_empty()) {
            return Err("a push where none can be".to_owned());
        }
        self.spend(0)?;
        let is_foreign = self.is_foreign();
        let list = List { kind, left, elements: Vec::new(), is_foreign };
        if left == 0 {
            return Ok(Step::Complete(list.piece()));
        }
        self.open.push(list);
        Ok(Step::Begun)
    }

    /// A text begins.
    fn begin_text(&mut self, kind: u8, rest: &[u8]) -> Result<Step, String> {
        let length = number(rest)?;
        if (kind, length) == (b'$', -1) {
            return Ok(Step::Complete(Piece::Value(Value::Nil)));
        }
        let length = usize::try_from(length).map_err(|_| strange("a length", rest))?;
        if self.is_foreign() {
            self.skip = length.checked_add(2).ok_or_else(|| strange("a length", rest))?;
            return Ok(Step::Begun);
        }
        self.spend(length)?;
        self.text = Some(Text { kind, length });
        Ok(Step::Begun)
    }

    fn rest_of(&mut self, text: Text, bytes: &mut BytesMut) -> Result<Step, String> {
        if bytes.len() < text.length + 2 {
            return Ok(Step::Wait);
        }
        self.text = None;
        let content = bytes.split_to(text.length);
        if !bytes.starts_with(b"\r\n") {
            return Err("a text that is longer than it says".to_owned());
        }
        bytes.advance(2);
        Ok(Step::Complete(match text.kind {
            b'!' => Piece::Refusal(String::from_utf8_lossy(&content).into_owned()),
            // Three letters and a colon say what kind of text follows.
            b'=' if content.get(3) == Some(&b':') => {
                Piece::Value(Value::BulkString(content[4..].to_vec()))
            }
            b'=' => return Err(strange("a text", &content)),
            _ => Piece::Value(Value::BulkString(content.to_vec())),
        }))
    }

    /// A piece is complete, and with it perhaps the lists in which it is the last.
    fn close(&mut self, mut piece: Piece) -> Result<Option<Frame>, String> {
        while let Some(list) = self.open.last_mut() {
            match piece {
                Piece::Value(value) if !list.is_foreign => list.elements.push(value),
                Piece::Refusal(_) if !list.is_foreign => {
                    return Err("a refusal inside an answer".to_owned());
                }
                _ => {}
            }
            list.left -= 1;
            if list.kind == Kind::Push && list.elements.len() == 1 && !list.is_heard() {
                list.is_foreign = true;
                list.elements = Vec::new();
                self.cost = 0;
            }
            if list.left > 0 {
                return Ok(None);
            }
            let Some(list) = self.open.pop() else { return Ok(None) };
            if list.kind == Kind::Push {
                self.cost = 0;
                return Ok(Some(match list.is_foreign {
                    true => Frame::Foreign,
                    false => Frame::Push(list.elements),
                }));
            }
            piece = list.piece();
        }
        self.cost = 0;
        Ok(Some(match piece {
            Piece::Value(value) => Frame::Answer(value),
            Piece::Refusal(said) => Frame::Refusal(said),
            Piece::Dropped => Frame::Foreign,
        }))
    }

    fn is_foreign(&self) -> bool {
        self.open.last().is_some_and(|list| list.is_foreign)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        if self.is_foreign() {
            return Ok(());
        }
        self.cost = self.cost.saturating_add(bytes).saturating_add(ELEMENT);
        match self.cost > self.most {
            true => Err(format!("an answer of more than {} bytes", self.most)),
            false => Ok(()),
        }
    }
}

impl List {
    fn is_heard(&self) -> bool {
        match self.elements.first() {
            Some(Value::BulkString(word)) => HEARD.contains(&&**word),
            _ => false,
        }
    }

    fn piece(self) -> Piece {
        if self.is_foreign {
            return Piece::Dropped;
        }
        Piece::Value(match self.kind {
            Kind::Set => Value::Set(self.elements),
            Kind::Map => {
                let (mut pairs, mut elements) = (Vec::new(), self.elements.into_iter());
                while let (Some(key), Some(value)) = (elements.next(), elements.next()) {
                    pairs.push((key, value));
                }
                Value::Map(pairs)
            }
            Kind::Array | Kind::Push => Value::Array(self.elements),
        })
    }
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| strange("a text", bytes))
}

/// As servers write it: a sign only where it is needed.
fn number(digits: &[u8]) -> Result<i64, String> {
    let is_plain = digits.first() != Some(&b'+');
    let number = text(digits)?.parse().ok().filter(|_| is_plain);
    number.ok_or_else(|| strange("a number", digits))
}

fn strange(what: &str, bytes: &[u8]) -> String {
    let shown = bytes[..bytes.len().min(40)].escape_ascii();
    format!("not {what}: \"{shown}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All frames of some bytes, which come in pieces of this size.
    fn frames(bytes: &[u8], size: usize) -> Result<Vec<Frame>, String> {
        let (mut decoder, mut unread, mut frames) = (Decoder::default(), BytesMut::new(), vec![]);
        for piece in bytes.chunks(size) {
            unread.extend_from_slice(piece);
            while let Some(frame) = decoder.next(&mut unread)? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    #[track_caller]
    fn frame(bytes: &[u8]) -> Frame {
        let whole = frames(bytes, bytes.len()).unwrap();
        for size in 1..bytes.len() {
            assert_eq!(frames(bytes, size).unwrap(), whole, "in pieces of {size}");
        }
        let [frame] = <[Frame; 1]>::try_from(whole).unwrap();
        frame
    }

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn every_kind_of_answer_is_read() {
        for (bytes, value) in [
            ("+OK\r\n", Value::Okay),
            ("+PONG\r\n", Value::SimpleString("PONG".to_owned())),
            (":-7\r\n", Value::Int(-7)),
            ("$-1\r\n", Value::Nil),
            ("*-1\r\n", Value::Nil),
            ("_\r\n", Value::Nil),
            ("#t\r\n", Value::Boolean(true)),
            (",1.5\r\n", Value::Double(1.5)),
            ("$0\r\n\r\n", bulk("")),
            ("$4\r\na\r\nb\r\n", bulk("a\r\nb")),
            ("=7\r\ntxt:abc\r\n", bulk("abc")),
            ("*0\r\n", Value::Array(vec![])),
            (
                "*2\r\n:1\r\n*1\r\n_\r\n",
                Value::Array(vec![Value::Int(1), Value::Array(vec![Value::Nil])]),
            ),
            ("~1\r\n:1\r\n", Value::Set(vec![Value::Int(1)])),
            (
                "%1\r\n+a\r\n%0\r\n",
                Value::Map(vec![(Value::SimpleString("a".into()), Value::Map(vec![]))]),
            ),
        ] {
            assert_eq!(frame(bytes.as_bytes()), Frame::Answer(value), "{bytes:?}");
        }
        for bytes in ["-ERR no\r\n", "!6\r\nERR no\r\n"] {
            assert_eq!(frame(bytes.as_bytes()), Frame::Refusal("ERR no".to_owned()));
        }
    }

    #[test]
    fn only_the_pushes_that_are_listened_to_are_kept() {
        let message = b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n";
        assert_eq!(frame(message), Frame::Push(vec![bulk("message"), bulk("c"), bulk("hi")]));
        for foreign in [
            ">2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\nkey\r\n",
            ">2\r\n$10\r\ninvalidate\r\n_\r\n",
            ">3\r\n$8\r\npmessage\r\n%1\r\n-a\r\n#f\r\n*0\r\n",
            ">1\r\n:1\r\n",
        ] {
            assert_eq!(frame(foreign.as_bytes()), Frame::Foreign, "{foreign:?}");
        }
    }

    #[test]
    fn what_is_no_frame_is_an_error_and_costs_nothing() {
        let deep = "*1\r\n".repeat(1_000_000);
        let line = format!("+{}", "x".repeat(1_000_000));
        for bytes in [
            "x\r\n",
            "\r\n",
            "|1\r\n+a\r\n+b\r\n",
            "$999999999999\r\n",
            "$9223372036854775807\r\n",
            "$-2\r\n",
            "*-2\r\n",
            "%-1\r\n",
            ">0\r\n",
            ">-1\r\n",
            "*1\r\n>1\r\n+a\r\n",
            "*1\r\n-ERR\r\n",
            "$1\r\nabc",
            "=2\r\nab\r\n",
            "=-1\r\n",
            ":+1\r\n",
            ": 1\r\n",
            "*x\r\n",
            "#x\r\n",
            "$?\r\n",
            &deep,
            &line,
        ] {
            let read = frames(bytes.as_bytes(), bytes.len());
            assert!(read.is_err(), "{:?} is {read:?}", &bytes[..bytes.len().min(40)]);
        }
        // Announced is not sent.
        let mut decoder = Decoder::default();
        let mut many = BytesMut::from("*2147483647\r\n*2147483647\r\n:1\r\n");
        assert_eq!(decoder.next(&mut many), Ok(None));
        assert!(decoder.open.iter().all(|list| list.elements.capacity() < 16));
    }

    #[test]
    fn an_answer_has_a_largest_size_and_what_nobody_listens_to_takes_no_memory() {
        const MOST: usize = 1024 * 1024;
        let elements = MOST / ELEMENT + 2000;
        let read = |begin: &str, element: &str| {
            let mut decoder = Decoder { most: MOST, ..Decoder::default() };
            let mut unread = BytesMut::from(begin);
            for _ in 0..elements / 1000 {
                unread.extend_from_slice(element.repeat(1000).as_bytes());
                decoder.next(&mut unread)?;
            }
            Ok::<_, String>(decoder.open.iter().map(|list| list.elements.len()).sum::<usize>())
        };
        assert_eq!(read(">2\r\n$10\r\ninvalidate\r\n*2000000000\r\n", "$1\r\nk\r\n"), Ok(0));
        for element in [":1\r\n", "$1\r\nk\r\n"] {
            let error = read("*2000000000\r\n", element).unwrap_err();
            assert!(error.contains("more than"), "{error}");
        }
        let text = format!("${}\r\n", MOST + 1);
        assert!(read(&text, "x").unwrap_err().contains("more than"));
    }
}
