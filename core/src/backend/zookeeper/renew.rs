//! Renewals: a look whether the nodes are there, and until when their session lives for
//! certain. The session is kept alive by its beats, however many leases are in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Shared;
use super::link::{Answer as Awaited, Link, Tell, answer};
use super::place::Place;
use super::words::{Ask, Said};
use crate::backend::{Held, Renewal};
use crate::error::{Error, Kind};
use crate::time::Instant;
use crate::together::together;

impl Shared {
    pub(super) async fn renew_all(&self, leases: &[Held]) -> Result<Vec<Renewal>, Error> {
        let sent = self.runtime.now();
        let places: Vec<_> = leases.iter().map(|held| self.place_of(held)).collect();
        for (held, place) in leases.iter().zip(&places) {
            if place.as_ref().is_some_and(|place| place.home.ttl < held.ttl) {
                let message = "a lease lives with a session, which is too short for this ttl; give \
                               the lock back, and take it with another";
                return Err(Error::new(Kind::Unsupported, message));
            }
        }
        let mut sessions: BTreeMap<i64, Vec<(usize, &Held, Place)>> = BTreeMap::new();
        for (at, (held, place)) in leases.iter().zip(places).enumerate() {
            if let Some(place) = place {
                sessions.entry(place.session).or_default().push((at, held, place));
            }
        }
        let mut answers = vec![Renewal::Gone; leases.len()];
        let looks = sessions.into_values().map(|leases| self.renew_some(sent, leases));
        let (mut why, mut is_answered) = (None, false);
        for looked in together(looks).await {
            match looked {
                Ok(some) => {
                    is_answered = true;
                    some.into_iter().for_each(|(at, answer)| answers[at] = answer);
                }
                Err((some, error)) => {
                    some.into_iter().for_each(|at| answers[at] = Renewal::Unknown);
                    why.get_or_insert(error);
                }
            }
        }
        let is_all_unknown = !is_answered && answers.iter().all(|a| *a == Renewal::Unknown);
        match why {
            Some(error) if is_all_unknown => Err(error),
            _ => Ok(answers),
        }
    }

    /// Where a lease stands that lives, as far as is known here.
    pub(super) fn place_of(&self, held: &Held) -> Option<Place> {
        let place = self.places.get(held.owner)?;
        (u64::try_from(place.czxid) == Ok(held.fence)).then_some(place)
    }

    /// Those of one session.
    async fn renew_some(
        &self,
        sent: Instant,
        leases: Vec<(usize, &Held, Place)>,
    ) -> Result<Vec<(usize, Renewal)>, (Vec<usize>, Error)> {
        let all = || leases.iter().map(|(at, ..)| *at).collect::<Vec<_>>();
        let Some((_, _, first)) = leases.first() else { return Ok(Vec::new()) };
        let link = first.home.link().await.map_err(|e| (all(), e))?;
        if link.session != first.session {
            self.places.session_over(first.session);
            return Ok(all().into_iter().map(|at| (at, Renewal::Gone)).collect());
        }
        // What is watched over this connection is there: its end would be told before the
        // answer to any later question, as beats are.
        let looks: Vec<_> = leases.iter().map(|(.., place)| self.watch(&link, place)).collect();
        let mut answers = Vec::with_capacity(leases.len());
        let longest = leases.iter().map(|(_, held, _)| held.ttl).max().unwrap_or_default();
        for ((at, held, place), look) in leases.iter().zip(looks) {
            let is_there = match look {
                Some(look) => {
                    self.is_there(place, look.await_it().await).map_err(|e| (all(), e))?
                }
                None => true,
            };
            // Its time may have ended meanwhile.
            let is_kept = is_there && self.places.touch(place.attempt, sent, sent + held.ttl);
            if !is_there {
                self.places.leave(place.attempt);
            }
            answers.push((*at, if is_kept { Renewal::Kept } else { Renewal::Gone }));
        }
        // A loss is told at once, and the others are asked for again.
        let proven = match answers.iter().any(|(_, answer)| *answer == Renewal::Gone) {
            true => link.ends(),
            false => self.proven(&link, link.wanted(sent, longest)).await,
        };
        for (answer, (_, held, place)) in answers.iter_mut().zip(&leases) {
            let lasts = proven.is_some_and(|proven| link.wanted(sent, held.ttl) <= proven);
            // Something may have been told meanwhile.
            let now = self.places.get(held.owner).map(|now| (now.attempt, now.watched));
            let lasts = lasts && now == Some((place.attempt, Some(link.number)));
            if answer.1 == Renewal::Kept && !lasts {
                answer.1 = Renewal::Unknown;
            }
        }
        Ok(answers)
    }

    /// Look whether a node is there, and watch it; unless it is watched already.
    fn watch(&self, link: &Link, place: &Place) -> Option<Awaited> {
        if place.watched == Some(link.number) {
            return None;
        }
        let (tell, looked) = answer();
        let (attempt, over) = (place.attempt, link.number);
        let (places, sought) = (Arc::downgrade(&self.places), (place.czxid, place.session));
        // Noted before anything that is told of it is read.
        let tell: Tell = Box::new(move |said| {
            if let Ok(Said::Data { stat, .. }) = &said
                && (stat.czxid, stat.owner) == sought
                && let Some(places) = places.upgrade()
            {
                places.watch(attempt, over);
            }
            tell(said);
        });
        link.send_all([(Ask::Data { path: place.path.clone(), watch: true }, tell)]);
        Some(looked)
    }

    /// Until when the session lives for certain; if that is not long enough, some beats
    /// later.
    pub(super) async fn proven(&self, link: &Link, wanted: Instant) -> Option<Instant> {
        if link.ends().is_some_and(|ends| ends >= wanted) {
            return link.ends();
        }
        tokio::select! {
            biased;
            () = link.proof.reached(wanted - link.timeout) => {}
            // Whoever asks does not wait for longer either.
            () = async { self.runtime.sleep(link.timeout / 4).await } => {}
        }
        link.ends()
    }
}
