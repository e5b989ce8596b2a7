//! What a client knows of its owners: which node each has, and what is still to be
//! deleted after them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::homes::Home;
use super::place::{Attempt, Entry, Found, Left, Node, Place};
use crate::backend::record::Retired;
use crate::name::{LockName, Owner};
use crate::time::Instant;

/// What whoever gave it back could not delete for so long is deleted in the background.
const OVERDUE: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(super) struct Places {
    state: Mutex<State>,
    /// Rung when something that was asked for is answered.
    bell: Notify,
    /// Rung when somebody's time ends sooner than it seemed.
    pub(super) alarm: Notify,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<Owner, Entry>,
    attempts: u64,
    retired: Retired,
    /// By when their time ends.
    due: BTreeSet<(Instant, Owner)>,
    /// Who waits for which node.
    waiting: BTreeSet<(String, Owner)>,
    /// Those that are gone and have a node yet, perhaps, by when it is deleted in the
    /// background if nobody has done so.
    ending: BTreeSet<(Instant, Owner)>,
    /// When the background looks next; `None`: when it is told.
    alarm: Option<Instant>,
}

impl State {
    /// What an attempt has come to, if it was not followed by another.
    fn of(&mut self, attempt: Attempt) -> Option<&mut Entry> {
        self.entries.get_mut(&attempt.owner).filter(|entry| entry.attempt == attempt)
    }

    fn remove(&mut self, owner: Owner) {
        self.wait_for(owner, None);
        if let Some(entry) = self.entries.remove(&owner) {
            self.due.remove(&(entry.until, owner));
            self.ending.remove(&(entry.until, owner));
        }
    }

    /// It waits for this one from now on, and for no other.
    fn wait_for(&mut self, owner: Owner, behind: Option<String>) {
        let Some(place) = self.entries.get_mut(&owner).and_then(Entry::place_mut) else { return };
        if let Some(former) = std::mem::replace(&mut place.before, behind.clone()) {
            self.waiting.remove(&(former, owner));
        }
        self.waiting.extend(behind.map(|path| (path, owner)));
    }

    /// It is to be deleted, in the background from then on.
    fn end(&mut self, owner: Owner, by: Instant) {
        let Some(entry) = self.entries.get_mut(&owner) else { return };
        self.due.remove(&(entry.until, owner));
        self.ending.remove(&(entry.until, owner));
        (entry.is_ending, entry.until) = (true, by);
        self.ending.insert((by, owner));
    }

    /// When there is something to do.
    fn next(&self) -> Option<Instant> {
        let first = |all: &BTreeSet<(Instant, Owner)>| all.first().map(|(at, _)| *at);
        first(&self.due).into_iter().chain(first(&self.ending)).min()
    }

    /// Its time ends then; no if it is over.
    fn touch(&mut self, owner: Owner, until: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(&owner).filter(|entry| !entry.is_ending) else {
            return false;
        };
        self.due.remove(&(entry.until, owner));
        entry.until = until;
        self.due.insert((until, owner));
        true
    }
}

impl Places {
    pub(super) fn find(&self, owner: Owner) -> Found {
        let state = self.state();
        if state.retired.contains(owner) {
            return Found::Retired;
        }
        let Some(entry) = state.entries.get(&owner) else { return Found::Nothing };
        match (&entry.node, entry.place()) {
            (Node::Asked, _) => Found::Asked,
            _ if entry.is_ending => Found::Ending,
            (_, Some(place)) => Found::Place(place.clone()),
            _ => Found::Doubtful(entry.doubt()),
        }
    }

    pub(super) fn is_retired(&self, owner: Owner) -> bool {
        self.state().retired.contains(owner)
    }

    /// Whether anything was sent for it that may have made a node.
    pub(super) fn has(&self, owner: Owner) -> bool {
        self.state().entries.contains_key(&owner)
    }

    /// Its place, if it stands somewhere.
    pub(super) fn get(&self, owner: Owner) -> Option<Place> {
        let state = self.state();
        state.entries.get(&owner).filter(|entry| !entry.is_ending)?.place().cloned()
    }

    /// A node is about to be asked for; `None` if it is retired, or has one.
    pub(super) fn ask(
        &self,
        owner: Owner,
        name: &LockName,
        (home, session): (&Arc<Home>, i64),
        until: Instant,
    ) -> Option<Attempt> {
        let mut state = self.state();
        if state.retired.contains(owner) || state.entries.contains_key(&owner) {
            return None;
        }
        state.attempts += 1;
        let attempt = Attempt { owner, number: state.attempts };
        let (name, home, node) = (name.clone(), home.clone(), Node::Asked);
        let (is_ending, asked) = (false, None);
        let entry = Entry { attempt, name, home, session, node, until, is_ending, asked };
        state.entries.insert(owner, entry);
        Some(attempt)
    }

    /// It was created.
    pub(super) fn created(&self, attempt: Attempt, path: String, czxid: i64) {
        let mut state = self.state();
        if let Some(entry) = state.of(attempt).filter(|entry| !matches!(entry.node, Node::At(_))) {
            let (home, session) = (entry.home.clone(), entry.session);
            let (holds, before, ahead, watched) = (false, None, usize::MAX, None);
            let place =
                Place { attempt, home, session, path, czxid, holds, before, ahead, watched };
            entry.node = Node::At(place);
            let until = entry.until;
            state.touch(attempt.owner, until);
        }
        self.ring(state);
    }

    /// Nobody knows whether it was.
    pub(super) fn doubt(&self, attempt: Attempt) {
        let mut state = self.state();
        if let Some(entry) = state.of(attempt) {
            entry.node = Node::Doubtful;
            let until = entry.until;
            state.touch(attempt.owner, until);
        }
        self.ring(state);
    }

    /// It was not created, and will not be; or it is gone.
    pub(super) fn leave(&self, attempt: Attempt) {
        let mut state = self.state();
        if state.of(attempt).is_some() {
            state.remove(attempt.owner);
        }
        self.ring(state);
    }

    /// Its time ends then, by what was `asked` at that time; no if it is over. What was asked
    /// before something else changes nothing that came of that.
    pub(super) fn touch(&self, attempt: Attempt, asked: Instant, until: Instant) -> bool {
        let mut state = self.state();
        let Some(entry) = state.of(attempt).filter(|entry| !entry.is_ending) else { return false };
        if entry.asked.is_none_or(|before| before <= asked) {
            entry.asked = Some(asked);
            state.touch(attempt.owner, until);
        }
        self.ring(state);
        true
    }

    /// It waits for this one, with so many before that, or holds the lock.
    pub(super) fn stands(&self, attempt: Attempt, behind: Option<(String, usize)>) {
        let mut state = self.state();
        let Some(place) = state.of(attempt).and_then(Entry::place_mut) else { return };
        place.holds = behind.is_none();
        place.ahead = behind.as_ref().map_or(0, |(_, ahead)| *ahead);
        state.wait_for(attempt.owner, behind.map(|(path, _)| path));
    }

    /// This node has changed, or is gone: whoever waits for it looks at the whole line.
    pub(super) fn call(&self, path: &str) {
        let mut state = self.state();
        let first = (path.to_owned(), Owner::from_bits(0));
        let waits = state.waiting.range(first..).take_while(|(waits_for, _)| waits_for == path);
        for owner in waits.map(|(_, owner)| *owner).collect::<Vec<_>>() {
            state.wait_for(owner, None);
        }
    }

    /// Its node is watched over a connection.
    pub(super) fn watch(&self, attempt: Attempt, over: u64) {
        if let Some(place) = self.state().of(attempt).and_then(Entry::place_mut) {
            place.watched = Some(over);
        }
    }

    /// What was watched has told, which it does once.
    pub(super) fn told(&self, owner: Owner) {
        if let Some(place) = self.state().entries.get_mut(&owner).and_then(Entry::place_mut) {
            place.watched = None;
        }
    }

    /// Nothing is done for it any more. Its place, if it had one or has one yet.
    pub(super) fn retire(&self, owner: Owner, now: Instant) -> Option<Place> {
        let mut state = self.state();
        state.retired.insert(owner);
        state.end(owner, now + OVERDUE);
        let place = state.entries.get(&owner).and_then(Entry::place).cloned();
        self.ring(state);
        place
    }

    /// Its node is to be deleted, and it may come again.
    pub(super) fn end(&self, owner: Owner, now: Instant) {
        let mut state = self.state();
        state.end(owner, now + OVERDUE);
        self.ring(state);
    }

    /// All that lived with a session is gone.
    pub(super) fn session_over(&self, session: i64) {
        let mut state = self.state();
        let lived = state.entries.iter().filter(|(_, entry)| entry.session == session);
        for owner in lived.map(|(owner, _)| *owner).collect::<Vec<_>>() {
            state.remove(owner);
        }
        drop(state);
        self.bell.notify_waiters();
    }

    /// Some that are to be deleted now, and when there is more to do. They are tried again
    /// after a while.
    pub(super) fn chores(&self, now: Instant, most: usize) -> (Vec<Owner>, Option<Instant>) {
        let mut state = self.state();
        while let Some((until, owner)) = state.due.first().copied()
            && until <= now
        {
            state.end(owner, now);
        }
        let mut chores = Vec::new();
        while let Some((by, owner)) = state.ending.first().copied()
            && by <= now
            && chores.len() < most
        {
            state.end(owner, now + OVERDUE);
            chores.push(owner);
        }
        state.alarm = state.next();
        (chores, state.alarm)
    }

    /// One of those that are to be deleted.
    pub(super) fn ending(&self) -> Option<Owner> {
        self.state().ending.first().map(|(_, owner)| *owner)
    }

    /// Whether a lock is held in a session.
    pub(super) fn holds_in(&self, session: i64) -> bool {
        let state = self.state();
        let lives = |entry: &&Entry| entry.session == session && !entry.is_ending;
        let mut lived = state.entries.values().filter(lives);
        lived.any(|entry| entry.place().is_some_and(|place| place.holds))
    }

    /// What is left of one that is to be deleted.
    pub(super) fn left(&self, owner: Owner) -> Left {
        let state = self.state();
        let Some(entry) = state.entries.get(&owner).filter(|entry| entry.is_ending) else {
            return Left::Nothing;
        };
        match (&entry.node, entry.place()) {
            (Node::Asked, _) => Left::Asked,
            (_, Some(place)) => Left::Node(place.clone()),
            _ => Left::Doubtful(entry.doubt()),
        }
    }

    /// Ready when nothing that was asked for it is under way.
    pub(super) async fn answered(&self, owner: Owner) {
        loop {
            let rung = self.bell.notified();
            let is_asked = |entry: &Entry| matches!(entry.node, Node::Asked);
            if !self.state().entries.get(&owner).is_some_and(is_asked) {
                return;
            }
            rung.await;
        }
    }

    fn ring(&self, mut state: MutexGuard<'_, State>) {
        let next = state.next();
        let is_sooner = next.is_some_and(|next| state.alarm.is_none_or(|alarm| next < alarm));
        if is_sooner {
            state.alarm = next;
        }
        drop(state);
        self.bell.notify_waiters();
        if is_sooner {
            self.alarm.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::backend::connection::{Connection, Dial, Driver};
    use crate::backend::zookeeper::link::Link;
    use crate::error::Error;
    use crate::runtime::ThreadRuntime;

    struct Nowhere;

    #[async_trait]
    impl Dial for Nowhere {
        type Session = Arc<Link>;

        async fn open(&mut self, _: u64) -> Result<(Arc<Link>, Driver), Error> {
            std::future::pending().await
        }

        fn reconnected(&self) {}
    }

    #[test]
    fn what_comes_of_an_attempt_means_nothing_for_the_next() {
        let connection = Connection::start(Nowhere, ThreadRuntime::start().unwrap());
        let home = Arc::new(Home::over(Duration::from_secs(1), connection));
        let (places, owner) = (Places::default(), Owner::from_bits(7));
        let (name, at) = (LockName::new("x").unwrap(), Instant::from_nanos(1));
        let ask = || places.ask(owner, &name, (&home, 1), at);
        let first = ask().unwrap();
        assert_eq!(ask(), None, "one node at a time");
        places.created(first, "/x/first".to_owned(), 1);
        // Two have deleted it, and the second hears of that when it has come again.
        places.leave(first);
        let second = ask().unwrap();
        places.leave(first);
        assert!(matches!(places.find(owner), Found::Asked));
        places.created(first, "/x/first".to_owned(), 1);
        assert!(matches!(places.find(owner), Found::Asked));
        places.created(second, "/x/second".to_owned(), 2);
        places.stands(first, None);
        places.watch(first, 5);
        assert!(!places.touch(first, at, at));
        let place = places.get(owner).unwrap();
        assert_eq!((&*place.path, place.holds, place.watched), ("/x/second", false, None));
        // A renewal that was asked for before another, and ends after it, takes nothing from it.
        let later = at + Duration::from_secs(1);
        assert!(places.touch(second, later, later) && places.touch(second, at, at));
        assert!(places.chores(at, 1).0.is_empty());
        // Nor is one that is there made doubtful, or something else, by what comes late.
        places.created(second, "/x/third".to_owned(), 3);
        places.doubt(first);
        assert_eq!(places.get(owner).unwrap().path, "/x/second");
    }
}
