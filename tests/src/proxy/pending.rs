//! Which reply belongs to which command of a connection.

use std::collections::VecDeque;

use super::fault::{Applied, Gate};
use crate::resp::Reply;

/// What happens to the reply of a command.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    Pass,
    /// It answers a command that the client sent once.
    Swallow(Applied),
    /// The connection ends in its place.
    Cut(Applied),
    /// Nobody waits for it but the gate.
    Late(Gate),
}

/// What a server says.
enum Said {
    Reply,
    /// That a channel is subscribed to, or no longer.
    Confirmation,
    Message,
    OtherPush,
}

struct Expected {
    /// How many confirmations are to come; `None` if it is a reply.
    confirmations: Option<usize>,
    fate: Fate,
}

/// The commands of a connection that are not answered yet.
#[derive(Default)]
pub(super) struct Pending {
    expected: VecDeque<Expected>,
    subscribed: bool,
    resp3: bool,
    ended: bool,
}

impl Pending {
    /// A command goes to the server.
    pub(super) fn expect(&mut self, command: &[Vec<u8>], fate: Fate) {
        // To nothing, servers answer nothing.
        let Some((name, rest)) = command.split_first() else { return };
        let subscribes = name.ends_with(b"SUBSCRIBE");
        self.subscribed |= subscribes;
        if name == b"HELLO" && !rest.is_empty() {
            self.resp3 = rest[0] == b"3";
        }
        let confirmations = subscribes.then_some(rest.len().max(1));
        self.expected.push_back(Expected { confirmations, fate });
        if self.ended {
            self.end();
        }
    }

    /// What is to be done with the next thing that the server says.
    pub(super) fn fate(&mut self, said: &Reply, drop_messages: bool) -> Option<Fate> {
        match self.kind(said) {
            Said::Message => (!drop_messages).then_some(Fate::Pass),
            Said::OtherPush => Some(Fate::Pass),
            Said::Confirmation => Some(self.confirmed()),
            // A refusal also answers a subscription, all of it.
            Said::Reply => Some(self.expected.pop_front().map_or(Fate::Pass, |first| first.fate)),
        }
    }

    /// Nothing more comes from the server.
    pub(super) fn end(&mut self) {
        self.ended = true;
        for expected in self.expected.drain(..) {
            if let Fate::Late(gate) = expected.fate {
                gate.executed(false);
            }
        }
    }

    fn confirmed(&mut self) -> Fate {
        let Some(first) = self.expected.front_mut() else { return Fate::Pass };
        // To leave all channels takes one command and many confirmations.
        let Some(left) = &mut first.confirmations else { return Fate::Pass };
        *left -= 1;
        match *left {
            0 => self.expected.pop_front().map_or(Fate::Pass, |first| first.fate),
            _ => Fate::Pass,
        }
    }

    fn kind(&self, said: &Reply) -> Said {
        let (parts, pushed) = match said {
            Reply::Push(parts) => (parts, true),
            // In RESP2 only its first word tells a push from a reply.
            Reply::List(parts) if self.subscribed && !self.resp3 => (parts, false),
            _ => return Said::Reply,
        };
        match parts.first().and_then(Reply::as_str) {
            Some("message" | "pmessage" | "smessage") => Said::Message,
            Some(word) if word.ends_with("subscribe") => Said::Confirmation,
            _ if pushed => Said::OtherPush,
            _ => Said::Reply,
        }
    }
}
