//! All worlds that can be reached, the nearest first.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use crate::rules::Property;
use crate::scenario::Scenario;
use crate::trace::Trace;
use crate::world::World;

/// What a search found.
#[derive(Debug)]
pub struct Outcome {
    /// Distinct worlds.
    pub states: usize,
    /// Steps from one world to another.
    pub steps: u64,
    /// Steps to the farthest world.
    pub depth: usize,
    /// Whether there are no others.
    pub exhausted: bool,
    /// The shortest way to a world that must not be.
    pub found: Option<(Property, Trace)>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, steps, depth, exhausted, .. } = self;
        write!(f, "{states} states, {steps} steps, depth {depth}: ")?;
        match &self.found {
            None if *exhausted => write!(f, "nothing wrong"),
            None => write!(f, "nothing wrong, but there is more"),
            Some((property, trace)) => write!(f, "{property:?} broken in {} steps", trace.len()),
        }
    }
}

/// Of every world only a hash of 64 bits is kept, with that of the world it was
/// first reached from. Two worlds of 50 million have the same with a
/// probability of less than one in ten thousand.
type Seen = HashMap<u64, u64, BuildHasherDefault<Mix>>;

/// Look at all worlds, or until something is wrong.
pub fn search(with: &Scenario) -> Outcome {
    let mut seen = Seen::default();
    let mut near = Vec::new();
    let mut outcome = Outcome { states: 0, steps: 0, depth: 0, exhausted: false, found: None };
    for world in World::beginnings(with) {
        let world = world.canonical(with);
        if let Entry::Vacant(entry) = seen.entry(fingerprint(&world)) {
            entry.insert(fingerprint(&world));
            near.push(world);
        }
    }
    let watched = |property: &Property| with.watched.is_none_or(|only| only == *property);
    let mut actions = Vec::new();
    while !near.is_empty() && outcome.found.is_none() && seen.len() < with.limit {
        let mut far = Vec::new();
        'worlds: for world in &near {
            world.actions(with, &mut actions);
            for action in &actions {
                let mut next = *world;
                let wrong = next.apply(*action, with).filter(watched);
                if next == *world {
                    continue;
                }
                outcome.steps += 1;
                let next = next.canonical(with);
                if let Entry::Vacant(entry) = seen.entry(fingerprint(&next)) {
                    entry.insert(fingerprint(world));
                    far.push(next);
                }
                if let Some(property) = wrong {
                    let way = way_to(fingerprint(world), &seen);
                    let trace = Trace::along(&way, property, with);
                    outcome.found = Some((property, trace));
                    break 'worlds;
                }
            }
        }
        outcome.depth += usize::from(!far.is_empty());
        near = far;
    }
    outcome.exhausted = near.is_empty();
    outcome.states = seen.len();
    outcome
}

/// From a beginning to this world.
fn way_to(world: u64, seen: &Seen) -> Vec<u64> {
    let mut way = vec![world];
    let mut last = world;
    while seen[&last] != last {
        last = seen[&last];
        way.push(last);
    }
    way.reverse();
    way
}

/// The hash of a world.
pub(crate) fn fingerprint(world: &World) -> u64 {
    let mut mix = Mix::default();
    world.hash(&mut mix);
    mix.finish()
}

/// Takes bytes by the eight, multiplies, and folds the halves of the product.
#[derive(Default)]
struct Mix {
    hash: u64,
    word: u64,
    bytes: u32,
}

impl Mix {
    fn fold(&self) -> u64 {
        let factor = self.hash ^ self.word ^ 0x9e37_79b9_7f4a_7c15;
        let product = u128::from(factor) * 0xd6e8_feb8_6659_fd93;
        (product as u64) ^ ((product >> 64) as u64)
    }
}

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.fold()
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u8(*byte));
    }

    fn write_u8(&mut self, byte: u8) {
        self.word = self.word << 8 | u64::from(byte);
        self.bytes += 1;
        if self.bytes == 8 {
            *self = Self { hash: self.fold().rotate_left(23), word: 0, bytes: 0 };
        }
    }

    /// What tells the variants of an enum apart.
    fn write_isize(&mut self, number: isize) {
        self.write_u8(number as u8);
    }

    fn write_u64(&mut self, word: u64) {
        self.hash = word;
    }
}
