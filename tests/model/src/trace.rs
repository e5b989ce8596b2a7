//! How something went wrong, for a reader.

use std::fmt;

use crate::action::{Action, letter};
use crate::node::Node;
use crate::rules::Property;
use crate::scenario::Scenario;
use crate::search::fingerprint;
use crate::world::World;

/// What happened, step by step.
#[derive(Debug)]
pub struct Trace {
    steps: Vec<String>,
}

impl Trace {
    /// Walk the way again, but let every node keep its name. In the end, do what
    /// is wrong.
    pub(crate) fn along(way: &[u64], wrong: Property, with: &Scenario) -> Self {
        let begins = |world: &World| fingerprint(&world.canonical(with)) == way[0];
        let beginning = World::beginnings(with).into_iter().find(begins);
        let mut world = beginning.expect("each way has a beginning");
        let mut trace = Self { steps: Vec::new() };
        let mut actions = Vec::new();
        let mut step = |fits: &dyn Fn(&World, Option<Property>) -> bool| {
            world.actions(with, &mut actions);
            let fitting = actions.iter().find_map(|action| {
                let mut next = world;
                let wrong = next.apply(*action, with);
                fits(&next, wrong).then_some((*action, next))
            });
            let (action, next) = fitting.expect("worlds that look the same go the same ways");
            world = next;
            trace.take_down(action, &world);
        };
        for to in &way[1..] {
            step(&|next, _| fingerprint(&next.canonical(with)) == *to);
        }
        step(&|_, found| found == Some(wrong));
        trace
    }

    /// How many steps there are.
    #[allow(clippy::len_without_is_empty)] // no trace is empty
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    fn take_down(&mut self, action: Action, world: &World) {
        let about = match action {
            Action::Vote { node, .. }
            | Action::Yield { node, .. }
            | Action::Renewal { node, .. }
            | Action::Return { node, .. }
            | Action::Restart { node, .. } => about_node(&world.nodes[node], world.time),
            Action::Ask { attempt, .. }
            | Action::Acquire { attempt, .. }
            | Action::Extend { attempt } => {
                format!("{} ticks to its deadline", world.clients[attempt].left)
            }
            Action::Renew { attempt, .. } => {
                format!("for {} ticks from now", world.clients[attempt].renewal)
            }
            Action::Tick { .. } => {
                let left = |client: &crate::client::Client| {
                    if client.runs() { client.left.to_string() } else { "-".to_owned() }
                };
                let left: Vec<_> = world.clients.iter().map(left).collect();
                format!("ticks to deadlines: {}", left.join(" "))
            }
            Action::Want { .. }
            | Action::GiveBack { .. }
            | Action::Save { .. }
            | Action::Mislead { .. } => String::new(),
        };
        self.steps.push(format!("{:>2}  {:<48} {about}", world.time, action.to_string()));
    }
}

fn about_node(node: &Node, time: u8) -> String {
    let mut about = format!("at {}: stored {}", time + node.ahead, node.record.stored);
    if node.record.freed > 0 {
        about += &format!(", freed {}", node.record.freed);
    }
    if let Some(holder) = node.holder(time) {
        let owner = letter(usize::from(holder.owner));
        about += &format!(", held by {owner} ({}) until {}", holder.ballot, holder.expires);
    }
    let turn = &node.record.turn;
    if turn.returned > 0 {
        about += &format!(", returned {}", turn.returned);
    }
    if turn.is_alive(time + node.ahead) {
        let closed = if turn.open { "" } else { ", closed" };
        about += &format!(", turn {}{closed}:", turn.number);
        for (i, share) in turn.shares.iter().enumerate() {
            if share.expires > time + node.ahead {
                about += &format!(" {} ({}) until {}", letter(i), share.ballot, share.expires);
            }
        }
    }
    if node.quarantine_end > 0 {
        about += &format!(", quarantine until {}", node.quarantine_end);
    }
    about
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().enumerate().try_for_each(|(i, step)| writeln!(f, "{:>3}. {step}", i + 1))
    }
}
