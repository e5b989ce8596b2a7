//! All nodes and clients, what can happen next, and what must not.

use std::fmt;

use crate::client::{Client, Stage};
use crate::node::{Answer, Node};
use crate::rules::{Property, Rule};
use crate::scenario::Scenario;

/// As many nodes as any scenario has.
pub(crate) const NODES: usize = 4;
/// As many attempts as any scenario has.
pub(crate) const ATTEMPTS: usize = 3;

/// Everything there is at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) nodes: [Node; NODES],
    pub(crate) clients: [Client; ATTEMPTS],
    /// The true time.
    pub(crate) time: u8,
    /// Restarts that may still come.
    pub(crate) restarts: u8,
    /// The largest fence of any lease until now.
    pub(crate) top: u8,
}

/// One thing that happens. Nodes and attempts are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A tick of true time, which the clocks of some clients (bits) lose.
    Tick { lost_by: u8 },
    /// A client sends votes to all nodes.
    Ask { attempt: usize, ballot: u8 },
    /// A client has the answers of a quorum.
    Acquire { attempt: usize },
    /// A client sends renewals to all nodes.
    Renew { attempt: usize },
    /// A client has the answers of a quorum to its renewals.
    Extend { attempt: usize },
    /// A client gives back, at all nodes.
    GiveBack { attempt: usize },
    /// One of its messages arrives, not necessarily for the first time.
    Vote { attempt: usize, ballot: u8, node: usize },
    /// See `Vote`; it gives back what an earlier round came to.
    Yield { attempt: usize, ballot: u8, node: usize },
    /// See `Vote`.
    Renewal { attempt: usize, node: usize },
    /// See `Vote`.
    Return { attempt: usize, node: usize },
    /// A node restarts, with another clock and perhaps with an older record.
    Restart { node: usize, keeps: bool, ahead: u8 },
    /// A node writes its record to the disk.
    Save { node: usize },
    /// A name by which a client knows another node leads it here from now on.
    Mislead { attempt: usize, node: usize },
}

impl World {
    /// One world for each way in which the nodes' clocks may differ.
    pub(crate) fn beginnings(with: &Scenario) -> Vec<Self> {
        let mut all = vec![Self { restarts: with.restarts, ..Self::default() }];
        for node in 0..with.nodes {
            let ahead_by = |world: Self, ahead: u8| {
                let mut other = world;
                other.nodes[node].ahead = ahead;
                other
            };
            let each = |world| with.clocks.iter().map(move |ahead| ahead_by(world, *ahead));
            all = all.into_iter().flat_map(each).collect();
        }
        all
    }

    /// What may happen next. Some of it changes nothing.
    pub(crate) fn actions(&self, with: &Scenario, list: &mut Vec<Action>) {
        list.clear();
        for attempt in 0..with.attempts {
            self.client_actions(attempt, with, list);
            // One of its names is enough.
            if with.misleading && self.nodes.iter().all(|node| node.doubled & 1 << attempt == 0) {
                list.extend((0..with.nodes).map(|node| Action::Mislead { attempt, node }));
            }
            for node in 0..with.nodes {
                self.arrivals(attempt, node, with, list);
            }
        }
        for node in 0..with.nodes {
            if self.restarts > 0 {
                let least = self.nodes[node].ahead.saturating_sub(with.step_back);
                for &ahead in with.clocks.iter().filter(|ahead| **ahead >= least) {
                    list.push(Action::Restart { node, keeps: false, ahead });
                    if with.kept_restarts {
                        list.push(Action::Restart { node, keeps: true, ahead });
                    }
                }
                if with.saves {
                    list.push(Action::Save { node });
                }
            }
        }
        if self.time < with.horizon {
            let may_lose = |(_, client): &(usize, &Client)| client.runs() && client.steady == 0;
            let slow = self.clients.iter().enumerate().filter(may_lose);
            let slow = if with.drift { slow.map(|(i, _)| 1 << i).sum() } else { 0 };
            let subsets = (0..1 << ATTEMPTS).filter(|lost_by| lost_by & !slow == 0);
            list.extend(subsets.map(|lost_by| Action::Tick { lost_by }));
        }
    }

    fn client_actions(&self, attempt: usize, with: &Scenario, list: &mut Vec<Action>) {
        let client = &self.clients[attempt];
        // Attempts are counted in the order in which they begin.
        let in_turn = attempt == 0 || self.clients[attempt - 1].stage != Stage::Idle;
        let asks = matches!(client.stage, Stage::Idle | Stage::Asking);
        if asks && in_turn && client.rounds < with.rounds {
            let ballots = with.ballots.iter().filter(|ballot| **ballot >= client.ballot);
            list.extend(ballots.map(|&ballot| Action::Ask { attempt, ballot }));
        }
        // What it sends under the other name the node takes for a repetition.
        let answers = |bits: fn(&Node) -> u8| {
            let by = self.nodes.iter().filter(|node| bits(node) & (1 << attempt) != 0);
            by.map(|node| match node.doubled & (1 << attempt) != 0 {
                true if !with.keeps_to(Rule::OneVotePerServer) => 2,
                _ => 1,
            })
            .sum::<usize>()
        };
        match client.stage {
            Stage::Asking => {
                let in_time = client.left > 0 || !with.keeps_to(Rule::SecondReading);
                if in_time && answers(|node| node.granted) >= with.quorum {
                    list.push(Action::Acquire { attempt });
                }
            }
            Stage::Leased => {
                let in_time = client.left > 0 || !with.keeps_to(Rule::RenewalInTime);
                if in_time && client.renewal > 0 && answers(|node| node.kept) >= with.quorum {
                    list.push(Action::Extend { attempt });
                }
                if with.renewals && client.left > 0 {
                    list.push(Action::Renew { attempt });
                }
            }
            Stage::Idle | Stage::Withdrawn | Stage::Released => return,
        }
        list.push(Action::GiveBack { attempt });
    }

    fn arrivals(&self, attempt: usize, node: usize, with: &Scenario, list: &mut Vec<Action>) {
        let client = &self.clients[attempt];
        let ballots = (0..16).filter(|ballot| client.votes & (1 << ballot) != 0);
        list.extend(ballots.clone().map(|ballot| Action::Vote { attempt, ballot, node }));
        if with.yields {
            let earlier = ballots.filter(|ballot| *ballot < client.ballot);
            list.extend(earlier.map(|ballot| Action::Yield { attempt, ballot, node }));
        }
        if client.renewed {
            list.push(Action::Renewal { attempt, node });
        }
        if client.is_over() {
            list.push(Action::Return { attempt, node });
        }
    }

    /// Let it happen. Returns what is wrong then.
    pub(crate) fn apply(&mut self, action: Action, with: &Scenario) -> Option<Property> {
        match action {
            Action::Tick { lost_by } => {
                self.time += 1;
                for (i, client) in self.clients.iter_mut().enumerate() {
                    client.tick(lost_by & (1 << i) != 0, with.ttl);
                }
                self.exclusion()
            }
            Action::Restart { node, keeps, ahead } => {
                self.restarts -= 1;
                self.nodes[node].restart(keeps, ahead, self.time, with);
                None
            }
            Action::Save { node } => {
                self.nodes[node].saved = self.nodes[node].record;
                None
            }
            Action::Mislead { attempt, node } => {
                self.nodes[node].doubled |= 1 << attempt;
                None
            }
            Action::Vote { attempt, node, .. }
            | Action::Yield { attempt, node, .. }
            | Action::Renewal { attempt, node }
            | Action::Return { attempt, node } => self.arrive(action, attempt, node, with),
            Action::Ask { attempt, .. }
            | Action::Acquire { attempt }
            | Action::Renew { attempt }
            | Action::Extend { attempt }
            | Action::GiveBack { attempt } => self.act(action, attempt, with),
        }
    }

    /// A client does something.
    fn act(&mut self, action: Action, attempt: usize, with: &Scenario) -> Option<Property> {
        let client = &mut self.clients[attempt];
        let held = client.holds();
        match action {
            Action::Ask { ballot, .. } => {
                let forgets = client.ballot != ballot || with.keeps_to(Rule::AnswersOfThisRound);
                client.stage = Stage::Asking;
                client.ballot = ballot;
                client.votes |= 1 << ballot;
                client.rounds += 1;
                client.left = with.ttl - with.margin;
                if forgets {
                    self.nodes.iter_mut().for_each(|node| node.granted &= !(1 << attempt));
                }
            }
            Action::Acquire { .. } => {
                client.stage = Stage::Leased;
                let rises = client.ballot > self.top;
                self.top = self.top.max(client.ballot);
                return if rises { self.exclusion() } else { Some(Property::Fences) };
            }
            Action::Renew { .. } => {
                client.renewed = true;
                client.renewal = with.ttl - with.margin;
                if with.keeps_to(Rule::AnswersOfThisRound) {
                    self.nodes.iter_mut().for_each(|node| node.kept &= !(1 << attempt));
                }
            }
            Action::Extend { .. } => {
                client.left = client.left.max(client.renewal);
                client.renewal = 0;
                let late = !held && client.ballot < self.top;
                return if late { Some(Property::Fences) } else { self.exclusion() };
            }
            _ => {
                let leased = client.stage == Stage::Leased;
                client.stage = if leased { Stage::Released } else { Stage::Withdrawn };
            }
        }
        None
    }

    /// A message reaches a node.
    fn arrive(
        &mut self,
        action: Action,
        attempt: usize,
        node: usize,
        with: &Scenario,
    ) -> Option<Property> {
        let (client, node, time) = (self.clients[attempt], &mut self.nodes[node], self.time);
        let (owner, bit) = (attempt as u8, 1 << attempt);
        let held = |node: &Node| node.holder(time).is_some_and(|holder| holder.owner == owner);
        let held_before = held(node);
        match action {
            Action::Vote { ballot, .. } => {
                let answer = node.vote(owner, ballot, time, with);
                let counts = client.stage == Stage::Asking && ballot == client.ballot;
                if answer == Answer::Granted && counts {
                    node.granted |= bit;
                }
            }
            Action::Yield { ballot, .. } => node.give_back_round(owner, ballot, with),
            Action::Renewal { .. } => {
                if node.renew(owner, client.ballot, time, with) {
                    node.kept |= bit;
                }
            }
            _ => node.give_back(owner, client.ballot, client.stage == Stage::Released, with),
        }
        let zombie = !held_before && held(node) && node.given_back & bit != 0;
        zombie.then_some(Property::NoZombie)
    }

    fn exclusion(&self) -> Option<Property> {
        let holders = self.clients.iter().filter(|client| client.holds()).count();
        (holders > 1).then_some(Property::Exclusion)
    }

    /// The same world for all worlds that differ in nothing that matters: it
    /// forgets what has no effect any more, and nodes have no names.
    pub(crate) fn canonical(mut self, with: &Scenario) -> Self {
        let (mut asking, mut renewing) = (0, 0);
        for (i, client) in self.clients.iter_mut().enumerate() {
            let late = client.left == 0 && with.keeps_to(Rule::RenewalInTime);
            if client.stage != Stage::Leased || late {
                client.renewal = 0;
            }
            if !client.runs() {
                (client.left, client.steady, client.rounds) = (0, 0, 0);
            }
            if client.stage == Stage::Leased {
                client.rounds = 0;
            }
            asking |= u8::from(client.stage == Stage::Asking) << i;
            renewing |= u8::from(client.renewal > 0) << i;
        }
        for node in &mut self.nodes[..with.nodes] {
            node.tidy(self.time, self.restarts, with);
            node.granted &= asking;
            node.kept &= renewing;
        }
        self.nodes[..with.nodes].sort_unstable();
        self
    }
}

fn letter(attempt: usize) -> char {
    ['A', 'B', 'C'][attempt]
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Tick { lost_by: 0 } => write!(f, "a tick passes"),
            Self::Tick { lost_by } => {
                write!(f, "a tick passes, which these clocks miss:")?;
                let slow = (0..ATTEMPTS).filter(|attempt| lost_by & (1 << attempt) != 0);
                slow.map(letter).try_for_each(|name| write!(f, " {name}"))
            }
            Self::Ask { attempt, ballot } => {
                write!(f, "{} asks for ballot {ballot}", letter(attempt))
            }
            Self::Acquire { attempt } => write!(f, "{} has a quorum: acquired", letter(attempt)),
            Self::Renew { attempt } => write!(f, "{} sends renewals", letter(attempt)),
            Self::Extend { attempt } => write!(f, "{} has a quorum: renewed", letter(attempt)),
            Self::GiveBack { attempt } => write!(f, "{} gives back", letter(attempt)),
            Self::Vote { attempt, ballot, node } => {
                write!(f, "{}'s vote for ballot {ballot} reaches node {node}", letter(attempt))
            }
            Self::Yield { attempt, ballot, node } => {
                write!(f, "{}'s return of ballot {ballot} reaches node {node}", letter(attempt))
            }
            Self::Renewal { attempt, node } => {
                write!(f, "{}'s renewal reaches node {node}", letter(attempt))
            }
            Self::Return { attempt, node } => {
                write!(f, "what {} gives back reaches node {node}", letter(attempt))
            }
            Self::Restart { node, keeps, ahead } => {
                let data = if keeps { "with" } else { "without" };
                write!(f, "node {node} restarts {data} its data, its clock {ahead} ahead")
            }
            Self::Save { node } => write!(f, "node {node} saves its record"),
            Self::Mislead { attempt, node } => {
                write!(f, "{}'s name of another node leads to node {node}", letter(attempt))
            }
        }
    }
}
