//! What it says.

use super::{Session, bulk};

impl Session<'_> {
    /// As an answer looked that bore no number.
    pub(super) fn grant_of_nobody(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("*2\r\n:1\r\n:{}\r\n", self.rng.u32(1..)).as_bytes());
    }

    /// To a request that was answered before, to the next one, or to none. (One that
    /// was not answered yet would be granted by that.)
    pub(super) fn grant_of_another(&mut self, number: &[u8], out: &mut Vec<u8>) {
        let this = u64::from_str_radix(&String::from_utf8_lossy(number), 16).unwrap_or_default();
        let other = match self.rng.u8(..4) {
            0 => format!("{:x}", this.wrapping_add(1)).into_bytes(),
            1 => format!("0{this:x}").into_bytes(),
            _ => self.numbers.last().cloned().unwrap_or_else(|| b"1".to_vec()),
        };
        out.extend_from_slice(b"*2\r\n");
        bulk(&other, out);
        self.grant_of_nobody(out);
    }

    /// To this request, and not one that can be used.
    pub(super) fn nearly_a_grant(&mut self, number: &[u8], out: &mut Vec<u8>) {
        let parts = [
            "",
            ":1\r\n",
            "*1\r\n:1\r\n",
            "*2\r\n:1\r\n:0\r\n",
            "*2\r\n:1\r\n:-5\r\n",
            "*2\r\n:1\r\n$1\r\n5\r\n",
            "*3\r\n:1\r\n:5\r\n:6\r\n",
            "*2\r\n:9\r\n:5\r\n",
            "_\r\n",
            "*1\r\n:2\r\n",
            "*2\r\n:3\r\n:-1\r\n",
            "%1\r\n:1\r\n:5\r\n",
            "~2\r\n:1\r\n:5\r\n",
        ];
        let part = parts[self.rng.usize(..parts.len())];
        out.extend_from_slice(if part.is_empty() { b"*1\r\n" } else { b"*2\r\n" });
        bulk(number, out);
        out.extend_from_slice(part.as_bytes());
    }

    pub(super) fn refusal(&mut self, out: &mut Vec<u8>) {
        let codes = [
            "ERR",
            "NOSCRIPT",
            "LOADING",
            "READONLY",
            "MOVED 1 h:1",
            "BUSY",
            "OOM",
            "NOPERM",
            "CROSSSLOT",
            "",
            "NOAUTH",
        ];
        let code = codes[self.rng.usize(..codes.len())];
        let kind = self.rng.bool();
        let said = format!("{code} it will not");
        out.extend_from_slice(
            match kind {
                true => format!("-{said}\r\n"),
                false => format!("!{}\r\n{said}\r\n", said.len()),
            }
            .as_bytes(),
        );
    }

    /// A value of any kind.
    pub(super) fn value(&mut self, depth: u8, out: &mut Vec<u8>) {
        let simple = [
            "+OK\r\n",
            "+QUEUED\r\n",
            ":0\r\n",
            ":1\r\n",
            ":-9223372036854775808\r\n",
            "$-1\r\n",
            "*-1\r\n",
            "_\r\n",
            "#t\r\n",
            "#f\r\n",
            ",3.25\r\n",
            ",inf\r\n",
            "(12345678901234567890\r\n",
            "=8\r\ntxt:abcd\r\n",
            "$3\r\nabc\r\n",
            "$0\r\n\r\n",
            "*0\r\n",
            "%0\r\n",
        ];
        match self.rng.u8(..8) {
            0 if depth < 4 => self.list(depth, out),
            1 if depth < 4 => {
                out.extend_from_slice(b"|1\r\n+ttl\r\n:5\r\n");
                self.value(depth + 1, out);
            }
            2 => self.grant_of_nobody(out),
            _ => out.extend_from_slice(simple[self.rng.usize(..simple.len())].as_bytes()),
        }
    }

    pub(super) fn list(&mut self, depth: u8, out: &mut Vec<u8>) {
        let kind = *b"*~%>".get(self.rng.usize(..4)).unwrap_or(&b'*');
        let length = self.rng.usize(..4);
        out.extend_from_slice(format!("{}{length}\r\n", char::from(kind)).as_bytes());
        for _ in 0..if kind == b'%' { 2 * length } else { length } {
            self.value(depth + 1, out);
        }
    }

    /// What is no protocol, or the beginning of something endless.
    pub(super) fn garbage(&mut self, out: &mut Vec<u8>) {
        let known = [
            "*2147483647\r\n",
            "$999999999999\r\n",
            "$2147483647\r\nabc",
            "%-1\r\n",
            "$-7\r\n",
            "*1\r\n*1\r\n*1\r\n",
            "HTTP/1.1 400 Bad Request\r\n\r\n",
            "\r\n\r\n",
            "$3\r\nabcdef\r\n",
            ":\r\n",
        ];
        match self.rng.u8(..4) {
            0 => out.extend((0..self.rng.usize(..64)).map(|_| self.rng.u8(..))),
            1 => out.extend_from_slice("*1\r\n".repeat(self.rng.usize(1..5000)).as_bytes()),
            _ => out.extend_from_slice(known[self.rng.usize(..known.len())].as_bytes()),
        }
    }

    /// What is said unasked; some of it a real server sends as well.
    pub(super) fn noise(&mut self, out: &mut Vec<u8>) {
        if self.rng.u8(..100) < self.honest.max(70) {
            return;
        }
        let list = |kind: char, words: &[&[u8]], out: &mut Vec<u8>| {
            out.extend_from_slice(format!("{kind}{}\r\n", words.len()).as_bytes());
            words.iter().for_each(|word| bulk(word, out));
        };
        let kind = if self.has_resp3 { '>' } else { '*' };
        let channel = if self.rng.bool() { self.channel.clone() } else { b"another".to_vec() };
        match self.rng.u8(..8) {
            0 => out.extend_from_slice(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nx\r\n"),
            1 => out.extend_from_slice(b">2\r\n$10\r\ninvalidate\r\n_\r\n"),
            2 => list(kind, &[b"unsubscribe", &channel, b"0"], out),
            3 => list('>', &[b"monitor", b"everything"], out),
            4 => list(kind, &[b"message", &channel, b"gone leasehold:x"], out),
            5 => {
                let owner = self.rng.u128(..);
                let message = format!("granted {owner:032x} 77 60000 leasehold:x");
                list(kind, &[b"message", &channel, message.as_bytes()], out);
            }
            6 => list(kind, &[b"pmessage", b"*", &channel, b"granted 1 2 3"], out),
            _ => self.value(0, out),
        }
    }
}
