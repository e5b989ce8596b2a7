//! Who holds what and who waits, and taking a lock from whoever holds it.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::failure::{Code, Failure, strange};
use super::link::Link;
use super::names::{Line, Stander, name_of};
use super::note::Note;
use super::words::{Ask, Said};
use crate::backend::{Held, Holder, Mode, Status};
use crate::error::{Error, Outcome};
use crate::name::LockName;

/// So often in a row somebody else is found to hold it.
const ROUNDS: usize = 16;
/// So many locks are looked at at once.
const AT_ONCE: usize = 64;

impl Shared {
    pub(super) async fn evict_holder(&self, name: &LockName) -> Result<bool, Error> {
        let link = self.homes.any().await?;
        let dir = self.tree.lock(name);
        for _ in 0..ROUNDS {
            // What is read here may be older than what others have seen.
            let synced = link.send(Ask::Sync { path: dir.clone() });
            let line = self.line(&link, &dir).await?;
            synced.await_it().await?;
            let Some(first) = line.standers().first() else { return Ok(false) };
            let delete = Ask::Delete { path: format!("{dir}/{}", first.node) };
            match link.ask(delete).await {
                Ok(_) => {
                    let told = self.tell_evicted(&link, name).await;
                    told.map_err(|e| Error::from(e).with_outcome(Outcome::Unknown))?;
                    return Ok(true);
                }
                // It has gone by itself.
                Err(failure) if failure.is(Code::NO_NODE) => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        Err(Error::unavailable("the lock changes hands all the time; ask again"))
    }

    /// Let every client hear of it.
    async fn tell_evicted(&self, link: &Arc<Link>, name: &LockName) -> Result<(), Failure> {
        let path = self.tree.evicted();
        let data = name.as_str().as_bytes().to_vec();
        let write = Ask::SetData { path: path.clone(), data };
        match link.ask(write.clone()).await {
            Err(failure) if failure.is(Code::NO_NODE) => {}
            written => return written.map(drop),
        }
        match link.ask(Ask::CreateStaying { path, in_use: false }).await {
            Err(failure) if !failure.is(Code::NODE_EXISTS) => return Err(failure),
            _ => {}
        }
        link.ask(write).await.map(drop)
    }

    /// Show another label in the node of a holder.
    pub(super) async fn show(&self, held: &Held, label: &str) -> Result<bool, Error> {
        let Some(place) = self.place_of(held).filter(|place| place.holds) else {
            return Ok(false);
        };
        let link = place.home.link().await?;
        if link.session != place.session {
            self.places.session_over(place.session);
            return Ok(false);
        }
        let path = place.path.clone();
        let data = match link.ask(Ask::Data { path: path.clone(), watch: false }).await {
            Ok(Said::Data { data, stat }) if stat.czxid == place.czxid => data,
            Ok(_) => return Err(strange("a node that was created another time")),
            Err(failure) if failure.is(Code::NO_NODE) => {
                self.places.leave(place.attempt);
                return Ok(false);
            }
            Err(failure) => return Err(failure.into()),
        };
        let note = Note::read(&data).relabelled(label, self.runtime.wall_micros());
        match link.ask(Ask::SetData { path, data: note.into_bytes() }).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.is(Code::NO_NODE) => {
                self.places.leave(place.attempt);
                Ok(false)
            }
            Err(failure) => Err(failure.into()),
        }
    }

    pub(super) async fn look_at(&self, name: Option<&LockName>) -> Result<Vec<Status>, Error> {
        let link = self.homes.any().await?;
        let base = self.tree.base().to_owned();
        link.ask(Ask::Sync { path: base.clone() }).await?;
        let names = match name {
            Some(name) => vec![name.clone()],
            None => match link.ask(Ask::Children { path: base }).await {
                Ok(Said::Children(nodes)) => {
                    let mut names: Vec<_> = nodes.iter().filter_map(|node| name_of(node)).collect();
                    names.sort();
                    names
                }
                Ok(_) => return Err(strange("no list of children")),
                Err(failure) if failure.is(Code::NO_NODE) => Vec::new(),
                Err(failure) => return Err(failure.into()),
            },
        };
        let mut statuses = Vec::new();
        for some in names.chunks(AT_ONCE) {
            let looks = some.iter().map(|name| self.status(&link, name.clone()));
            for status in crate::together::together(looks).await {
                statuses.extend(status?);
            }
        }
        Ok(statuses)
    }

    /// Who holds a lock and who waits; `None` if nobody does.
    async fn status(&self, link: &Arc<Link>, name: LockName) -> Result<Option<Status>, Failure> {
        let dir = self.tree.lock(&name);
        let line: Line = self.line(link, &dir).await?;
        let read = |stander: &Stander| {
            let path = format!("{dir}/{}", stander.node);
            link.send(Ask::Data { path, watch: false })
        };
        let reads: Vec<_> = line.standers().iter().map(read).collect();
        let mut found = Vec::with_capacity(reads.len());
        for read in reads {
            match read.await_it().await {
                Ok(Said::Data { data, stat }) => found.push((Note::read(&data), stat)),
                Ok(_) => return Err(strange("no data").into()),
                // It is gone by now.
                Err(failure) if failure.is(Code::NO_NODE) => {}
                Err(failure) => return Err(failure),
            }
        }
        let Some(((holder, stat), waiting)) = found.split_first() else { return Ok(None) };
        let now = self.runtime.wall_micros();
        let held_for = now.saturating_sub(holder.since.unwrap_or(now));
        let fence = u64::try_from(stat.czxid).unwrap_or_default();
        let holder = Holder {
            label: holder.label.clone(),
            mode: Mode::Exclusive,
            slot: 0,
            fence,
            held_for: Duration::from_micros(held_for),
            free_in: holder.ttl.unwrap_or_default(),
            resting: false,
        };
        let waiters = waiting.iter().map(|(note, _)| note.label.clone()).collect();
        Ok(Some(Status { name, fence, holders: vec![holder], waiters }))
    }
}
