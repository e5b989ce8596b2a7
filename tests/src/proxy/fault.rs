//! What can happen to one command.

use std::time::Duration;

use crate::patience::Once;

/// What happens to a command.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It, and what its connection sends after it, is on its way for that much longer.
    Delay(Duration),
    /// The server does it, and the connection is cut before its reply gets through.
    LoseReply,
    /// The server gets it twice, and the client only the first reply.
    Duplicate,
    /// The connection is cut in its place.
    CutBefore,
    /// The client's connection is cut, and the server gets the command when the
    /// gate opens. Until then the server sees the connection open.
    Late(Gate),
}

/// Tells when a fault has met its command and has had its effect: it was sent
/// on late, its connection is cut, its second reply has come, or its gate holds it.
#[derive(Clone, Debug, Default)]
pub struct Applied(Once<()>);

impl Applied {
    /// Whether it is so by now.
    pub fn is_done(&self) -> bool {
        self.0.get().is_some()
    }

    /// Wait until it is so, and panic if it is not within the limit.
    pub fn wait(&self) {
        self.0.wait_limited().expect("a command that matches the fault");
    }

    pub(super) fn set(&self) {
        self.0.set(());
    }
}

/// Holds one command back.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    /// False if the network is gone.
    opened: Once<bool>,
    /// False if the server cannot have done it.
    executed: Once<bool>,
}

impl Gate {
    /// A gate that is shut.
    pub fn new() -> Self {
        Self::default()
    }

    /// Let the command go to the server.
    pub fn open(&self) {
        self.opened.set(true);
    }

    /// Whether the server has done the command.
    pub fn is_executed(&self) -> bool {
        self.executed.get() == Some(true)
    }

    /// Wait until the server has done the command; panic if it cannot or does not.
    pub fn wait_executed(&self) {
        match self.executed.wait_limited() {
            Some(true) => {}
            Some(false) => panic!("the server ended before it could do the command"),
            None => panic!("the command was not done; was the gate opened?"),
        }
    }

    pub(super) fn wait_open(&self) -> bool {
        self.opened.wait()
    }

    pub(super) fn abandon(&self) {
        self.opened.set(false);
    }

    pub(super) fn executed(&self, executed: bool) {
        self.executed.set(executed);
    }
}
