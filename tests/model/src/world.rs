//! All nodes and clients, what can happen next, and what must not.

use crate::action::Action;
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
    /// It is that of a turn.
    pub(crate) top_is_turn: bool,
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
        let shared_by = |world: &Self, by: u8| {
            let mut other = *world;
            let clients = other.clients.iter_mut().enumerate();
            clients.for_each(|(i, client)| client.shared = by & (1 << i) != 0);
            other
        };
        let each = |by| all.iter().map(move |world| shared_by(world, by));
        with.shared.iter().flat_map(|by| each(*by)).collect()
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
        let answers = |is_one: &dyn Fn(&Node) -> bool| {
            let by = self.nodes.iter().filter(|node| is_one(node));
            by.map(|node| match node.doubled & (1 << attempt) != 0 {
                true if !with.keeps_to(Rule::OneVotePerServer) => 2,
                _ => 1,
            })
            .sum::<usize>()
        };
        match client.stage {
            Stage::Asking => {
                let in_time = client.left > 0 || !with.keeps_to(Rule::SecondReading);
                let has_quorum = |fence: &u8| {
                    let turns = turns_for(*fence, with);
                    let shares = |node: &Node| node.told.turns[attempt] & turns != 0;
                    let granted = |node: &Node| node.granted & (1 << attempt) != 0;
                    answers(if client.shared { &shares } else { &granted }) >= with.quorum
                };
                let fences =
                    if client.shared { 1..=client.ballot } else { client.ballot..=client.ballot };
                if in_time {
                    let fences = fences.filter(has_quorum);
                    list.extend(fences.map(|fence| Action::Acquire { attempt, fence }));
                }
                if with.wants && client.shared {
                    let turns = with.ballots.iter().filter(|turn| **turn < client.ballot);
                    list.extend(turns.map(|&turn| Action::Want { attempt, turn }));
                }
            }
            Stage::Leased => {
                let in_time = client.left > 0 || !with.keeps_to(Rule::RenewalInTime);
                let kept = |node: &Node| node.kept & (1 << attempt) != 0;
                if in_time && client.renewal > 0 && answers(&kept) >= with.quorum {
                    list.push(Action::Extend { attempt });
                }
                if with.renewals && client.left > 0 {
                    list.push(Action::Renew { attempt, ballot: client.ballot });
                    if with.fresh && client.shared {
                        let larger = with.ballots.iter().filter(|b| **b > client.ballot);
                        list.extend(larger.map(|&ballot| Action::Renew { attempt, ballot }));
                    }
                }
            }
            Stage::Idle | Stage::Withdrawn | Stage::Released => return,
        }
        list.push(Action::GiveBack { attempt });
    }

    fn arrivals(&self, attempt: usize, node: usize, with: &Scenario, list: &mut Vec<Action>) {
        let client = &self.clients[attempt];
        for ballot in bits(client.votes) {
            list.push(Action::Vote { attempt, ballot, wanted: 0, node });
            let wants = bits(client.wants).filter(|turn| *turn < ballot);
            list.extend(wants.map(|wanted| Action::Vote { attempt, ballot, wanted, node }));
        }
        if with.yields {
            let earlier = bits(client.votes).filter(|ballot| *ballot < client.last_vote());
            list.extend(earlier.map(|ballot| Action::Yield { attempt, ballot, node }));
        }
        let renewals = bits(client.renewals);
        list.extend(renewals.map(|ballot| Action::Renewal { attempt, ballot, node }));
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
                self.exclusion(with)
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
            | Action::Renewal { attempt, node, .. }
            | Action::Return { attempt, node } => self.arrive(action, attempt, node, with),
            Action::Ask { attempt, .. }
            | Action::Want { attempt, .. }
            | Action::Acquire { attempt, .. }
            | Action::Renew { attempt, .. }
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
                    for node in &mut self.nodes {
                        node.granted &= !(1 << attempt);
                        node.told.turns[attempt] = 0;
                    }
                }
            }
            Action::Want { turn, .. } => client.wants |= 1 << turn,
            Action::Acquire { fence, .. } => {
                client.stage = Stage::Leased;
                if client.shared {
                    client.turn = fence;
                }
                let same = fence == self.top && self.top_is_turn && client.shared;
                let rises = fence > self.top;
                if rises {
                    (self.top, self.top_is_turn) = (fence, client.shared);
                }
                return if rises || same { self.exclusion(with) } else { Some(Property::Fences) };
            }
            Action::Renew { ballot, .. } => {
                client.ballot = ballot;
                client.renewals |= 1 << ballot;
                client.renewal = with.ttl - with.margin;
                if with.keeps_to(Rule::AnswersOfThisRound) {
                    self.nodes.iter_mut().for_each(|node| node.kept &= !(1 << attempt));
                }
            }
            Action::Extend { .. } => {
                client.left = client.left.max(client.renewal);
                client.renewal = 0;
                let late = !held && client.fence() < self.top;
                return if late { Some(Property::Fences) } else { self.exclusion(with) };
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
        let held_before = node.is_held_by(owner, time);
        match action {
            Action::Vote { ballot, wanted, .. } if client.shared => {
                let turn = node.vote_shared(owner, ballot, wanted, time, with);
                if client.stage == Stage::Asking && ballot == client.ballot {
                    node.told.turns[attempt] |= turn.map_or(0, |turn| 1 << turn);
                }
            }
            Action::Vote { ballot, .. } => {
                let answer = node.vote(owner, ballot, time, with);
                let counts = client.stage == Stage::Asking && ballot == client.ballot;
                if answer == Answer::Granted && counts {
                    node.granted |= bit;
                }
            }
            Action::Yield { ballot, .. } if client.shared => {
                node.give_back_round_shared(owner, ballot, with);
            }
            Action::Yield { ballot, .. } => node.give_back_round(owner, ballot, with),
            Action::Renewal { ballot, .. } => {
                let kept = match client.shared {
                    true => node.renew_shared(owner, ballot, client.turn, time, with),
                    false => node.renew(owner, ballot, time, with),
                };
                if kept {
                    node.kept |= bit;
                }
            }
            _ if client.shared => {
                let largest = with.keeps_to(Rule::LargestIsReturned);
                let ballot = if largest { client.ballot } else { client.last_vote() };
                node.give_back_shared(owner, ballot, with);
            }
            _ => node.give_back(owner, client.ballot, client.stage == Stage::Released, with),
        }
        let zombie = !held_before && node.is_held_by(owner, time) && node.given_back & bit != 0;
        zombie.then_some(Property::NoZombie)
    }

    fn exclusion(&self, with: &Scenario) -> Option<Property> {
        let mut holders = self.clients.iter().filter(|client| client.holds());
        let first = holders.next()?;
        let mut others = holders.peekable();
        others.peek()?;
        if with.watched == Some(Property::Alone) {
            return Some(Property::Alone);
        }
        let fits = |other: &Client| other.shared && other.turn == first.turn;
        if !first.shared || others.clone().any(|other| !other.shared) {
            return Some(Property::Exclusion);
        }
        (!others.all(fits)).then_some(Property::Turns)
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
            node.told.retain(asking);
            node.kept &= renewing;
        }
        self.nodes[..with.nodes].sort_unstable();
        self
    }
}

fn bits(set: u16) -> impl Iterator<Item = u8> {
    (0..16).filter(move |bit| set & (1 << bit) != 0)
}

/// The turns that can be told by a quorum, to make this the fence.
fn turns_for(fence: u8, with: &Scenario) -> u16 {
    if with.keeps_to(Rule::OneTurn) { 1 << fence } else { u16::MAX >> (15 - fence) }
}
