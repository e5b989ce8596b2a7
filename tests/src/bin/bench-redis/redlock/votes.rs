//! What became of the votes, as the servers tell it: MONITOR shows every script
//! that is run and every command that it calls.
//!
//! A vote was given if the script went on to write the lock. A round is one
//! question of a claim to the nodes, or the second half of a release that hands
//! the lock on. It was won if its ballot is released as a lease later. One that
//! got a vote and was not won met a free lock on some node and could not have
//! it: the votes were split, or somebody was just releasing. One without a vote
//! found the lock held, and waits.

use std::collections::BTreeMap;
use std::io;
use std::thread::JoinHandle;

use leasehold_tests::servers::{Connection, Server};

use crate::Failure;

/// The last thing that is said.
const END: &str = "the end of the watch";

/// All that the servers do.
pub(crate) struct Watch(Vec<JoinHandle<io::Result<Vec<String>>>>);

impl Watch {
    pub(crate) fn begin(servers: &[Server]) -> Result<Self, Failure> {
        let mut listeners = Vec::new();
        for server in servers {
            let mut monitor = Connection::open(server.port())?;
            monitor.ask(&["MONITOR"])?;
            listeners.push(std::thread::spawn(move || {
                let mut said = Vec::new();
                loop {
                    let line = monitor.receive()?.as_str().unwrap_or_default().to_owned();
                    if line.contains(END) {
                        return Ok(said);
                    }
                    said.push(line);
                }
            }));
        }
        Ok(Self(listeners))
    }

    pub(crate) fn end(self, servers: &[Server]) -> Result<Votes, Failure> {
        let mut rounds = BTreeMap::new();
        for (node, (listener, server)) in self.0.into_iter().zip(servers).enumerate() {
            server.command(&["ECHO", END]);
            let said = listener.join().map_err(|_| "a listener panicked")??;
            read(&said, node, &mut rounds);
        }
        Ok(Votes::of(&rounds))
    }
}

/// Owner and ballot.
type Ballot = (String, String);

/// All rounds for one ballot.
#[derive(Default)]
struct Rounds {
    /// How often which node was asked.
    asked: BTreeMap<usize, u32>,
    votes: u32,
    was_won: bool,
}

fn read(said: &[String], node: usize, rounds: &mut BTreeMap<Ballot, Rounds>) {
    // The question that the node is about to answer, and its lock.
    let mut open: Option<(Ballot, &str)> = None;
    for line in said {
        let Some((source, words)) = line.split_once("] \"") else { continue };
        let words: Vec<&str> = words.trim_end_matches('"').split("\" \"").collect();
        match (source.ends_with("lua"), &words[..], &open) {
            (true, ["SET" | "PEXPIRE", key, ..], Some((ballot, lock))) if key == lock => {
                rounds.entry(ballot.clone()).or_default().votes += 1;
                open = None;
            }
            (false, ["EVALSHA", _, "4", lock, _, _, _, arguments @ ..], _) => {
                let (asked, released) = understand(arguments);
                if let Some(lease) = released {
                    rounds.entry(lease).or_default().was_won = true;
                }
                open = asked.map(|ballot| (ballot, *lock));
                if let Some((ballot, _)) = &open {
                    let asked = &mut rounds.entry(ballot.clone()).or_default().asked;
                    *asked.entry(node).or_default() += 1;
                }
            }
            _ => {}
        }
    }
}

/// What is asked for, and which lease is given back: see `vote_free.lua`
/// and `give_back_last.lua`.
fn understand(arguments: &[&str]) -> (Option<Ballot>, Option<Ballot>) {
    let ballot = |owner: &str, number: &str| Some((owner.to_owned(), number.to_owned()));
    match arguments {
        [_, owner, _, _, number, _, _, _, _] => (ballot(owner, number), None),
        [_, owner, number, "lease", "", _, _] => (None, ballot(owner, number)),
        [_, owner, number, "lease", next, _, _, wanted, _, _, _, _] => {
            (ballot(next, wanted), ballot(owner, number))
        }
        _ => (None, None),
    }
}

/// Rounds by what became of them.
pub(crate) struct Votes {
    won: u32,
    /// Got a vote, and not enough.
    split: u32,
    /// Got no vote.
    busy: u32,
}

impl Votes {
    fn of(rounds: &BTreeMap<Ballot, Rounds>) -> Self {
        let mut votes = Self { won: 0, split: 0, busy: 0 };
        for round in rounds.values() {
            let all = round.asked.values().max().copied().unwrap_or_default();
            let won = all.min(u32::from(round.was_won));
            votes.won += won;
            match round.votes {
                0 => votes.busy += all - won,
                _ => votes.split += all - won,
            }
        }
        votes
    }

    /// Of those that got a vote.
    pub(crate) fn share_won(&self) -> f64 {
        f64::from(self.won) / f64::from(self.won + self.split)
    }

    /// Of all, for each that was won.
    pub(crate) fn rounds_each(&self) -> f64 {
        f64::from(self.won + self.split + self.busy) / f64::from(self.won)
    }
}
