//! The scripts, each in a file of its own beside this one.
//!
//! What all of them share stands around each: the last argument is a number that
//! only this request has, and the answer begins with it. So no answer can be taken
//! for that of another request, whatever the server or a stranger sends.

use std::sync::LazyLock;

use ::redis::{Arg, Cmd};

/// A script, and its hash as servers know it.
pub(super) struct Script {
    pub(super) body: String,
    pub(super) hash: String,
}

const BEGIN: &str = "local asked = table.remove(ARGV)\nlocal function answer()\n";
const END: &str = "\nend\nreturn {asked, answer()}\n";

impl Script {
    fn new(script: &str) -> Self {
        let body = format!("{BEGIN}{script}{END}");
        let hash = ::redis::Script::new(&body).get_hash().to_owned();
        Self { body, hash }
    }

    /// An `EVALSHA` as an `EVAL`, after which the server knows the script. It may
    /// be told to forget it at any moment, so loading it first is not enough.
    pub(super) fn whole(&self, command: &Cmd) -> Cmd {
        let mut eval = Cmd::new();
        eval.arg("EVAL").arg(&self.body);
        for argument in command.args_iter().skip(2) {
            if let Arg::Simple(bytes) = argument {
                eval.arg(bytes);
            }
        }
        eval
    }
}

/// A script that knows the line of a lock.
macro_rules! about_a_lock {
    ($shared:literal, $file:literal) => {
        LazyLock::new(|| {
            let parts = [include_str!("lua/line.lua"), include_str!($shared), include_str!($file)];
            Script::new(&parts.concat())
        })
    };
}

/// A script that needs what all those share that can make somebody the holder.
macro_rules! granting {
    ($file:literal) => {
        about_a_lock!("lua/hand_on.lua", $file)
    };
}

/// A script of a node of a quorum.
macro_rules! on_node {
    ($file:literal) => {
        about_a_lock!("lua/ballot.lua", $file)
    };
}

macro_rules! plain {
    ($file:literal) => {
        LazyLock::new(|| Script::new(include_str!($file)))
    };
}

pub(super) static CLAIM: LazyLock<Script> = granting!("lua/claim.lua");
pub(super) static RELEASE: LazyLock<Script> = granting!("lua/release.lua");
pub(super) static WITHDRAW: LazyLock<Script> = granting!("lua/withdraw.lua");
pub(super) static EVICT: LazyLock<Script> = granting!("lua/evict.lua");
pub(super) static VOTE: LazyLock<Script> = on_node!("lua/vote.lua");
pub(super) static GIVE_BACK: LazyLock<Script> = on_node!("lua/give_back.lua");
pub(super) static OUST: LazyLock<Script> = on_node!("lua/oust.lua");
pub(super) static KEEP: LazyLock<Script> = plain!("lua/keep.lua");
pub(super) static RENEW: LazyLock<Script> = plain!("lua/renew.lua");
pub(super) static INSPECT: LazyLock<Script> = plain!("lua/inspect.lua");
pub(super) static QUEUED: LazyLock<Script> = plain!("lua/queued.lua");
pub(super) static EPOCH: LazyLock<Script> = plain!("lua/epoch.lua");

#[cfg(test)]
mod tests {
    use crate::backend::GRANT_WINDOW;

    #[test]
    fn a_lock_is_handed_on_for_as_long_as_the_engine_counts_with() {
        let line = format!("local GRANT_WINDOW = {} -- ms", GRANT_WINDOW.as_millis());
        assert!(include_str!("lua/hand_on.lua").contains(&line), "no {line:?}");
    }
}
