//! The scripts, each in a file of its own beside this one.
//!
//! What all of them share stands around each: the last argument is a number that
//! only this request has, and the answer begins with it. So no answer can be taken
//! for that of another request, whatever the server or a stranger sends.

use std::sync::LazyLock;

use super::command::Command;

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

    /// The first two words of a command that runs it.
    pub(super) fn by_hash(&self) -> Command {
        Command::of(&["EVALSHA", &self.hash])
    }

    /// An `EVALSHA` as an `EVAL`, after which the server knows the script. It may
    /// be told to forget it at any moment, so loading it first is not enough.
    pub(super) fn whole(&self, command: &Command) -> Command {
        let mut eval = Command::of(&["EVAL", &self.body]);
        eval.extend_from(command, &self.by_hash().mark());
        eval
    }
}

/// A script of several files, one after the other. What makes no function stands
/// before those that do, as each costs as much as a command.
macro_rules! script {
    ($($file:literal),+) => {
        LazyLock::new(|| {
            Script::new(concat!($(include_str!(concat!("lua/", $file, ".lua"))),+))
        })
    };
}

pub(super) static CLAIM: LazyLock<Script> =
    script!("claim_free", "line", "share", "hand_on", "claim");
pub(super) static CLAIM_SHARE: LazyLock<Script> =
    script!("claim_share_free", "line", "share", "hand_on", "claim_share");
pub(super) static RELEASE: LazyLock<Script> =
    script!("release_last", "line", "share", "hand_on", "release");
pub(super) static RELEASE_SHARE: LazyLock<Script> =
    script!("release_share_last", "line", "share", "hand_on", "release_share");
pub(super) static REST: LazyLock<Script> = script!("rest");
pub(super) static WITHDRAW: LazyLock<Script> = script!("line", "share", "hand_on", "withdraw");
pub(super) static EVICT: LazyLock<Script> = script!("line", "share", "hand_on", "evict");
pub(super) static TRANSFER: LazyLock<Script> = script!("line", "share", "transfer");
pub(super) static VOTE: LazyLock<Script> = script!("vote_free", "line", "ballot", "vote");
pub(super) static GIVE_BACK: LazyLock<Script> =
    script!("give_back_last", "line", "ballot", "give_back");
pub(super) static OUST: LazyLock<Script> = script!("line", "ballot", "oust");
pub(super) static KEEP: LazyLock<Script> = script!("keep");
pub(super) static VOTE_SHARE: LazyLock<Script> = script!("turn", "line", "ballot", "vote_share");
pub(super) static GIVE_BACK_SHARE: LazyLock<Script> =
    script!("turn", "line", "ballot", "give_back_share");
pub(super) static KEEP_SHARE: LazyLock<Script> = script!("turn", "keep_share");
pub(super) static RELABEL: LazyLock<Script> = script!("relabel");
pub(super) static RENEW: LazyLock<Script> = script!("renew");
pub(super) static RENEW_SHARE: LazyLock<Script> = script!("renew_share");
pub(super) static INSPECT: LazyLock<Script> = script!("sharers", "inspect");
pub(super) static MORE_SHARERS: LazyLock<Script> = script!("sharers", "more_sharers");
pub(super) static QUEUED: LazyLock<Script> = script!("queued");
pub(super) static EPOCH: LazyLock<Script> = script!("epoch");

#[cfg(test)]
mod tests {
    use crate::backend::GRANT_WINDOW;

    #[test]
    fn a_lock_is_handed_on_for_as_long_as_the_engine_counts_with() {
        let line = format!("local GRANT_WINDOW = {} -- ms", GRANT_WINDOW.as_millis());
        assert!(include_str!("lua/hand_on.lua").contains(&line), "no {line:?}");
    }
}
