//! Giving a lock back, and looking at who has it.

use super::failure::{Is, Trouble};
use super::rows::{Seen, column, micros};
use super::store::has_written;
use super::table::named;
use super::{Mysql, NO_ADDRESS, text};
use crate::backend::record::{Now, Record};
use crate::backend::{Answer, Claim, Held, Mode, Released, Status, lists};
use crate::error::Error;
use crate::name::LockName;
use crate::time::Instant;

impl Mysql {
    pub(super) async fn give_back(
        &self,
        held: &Held,
        then: Option<&Claim>,
    ) -> Result<Released, Error> {
        let done = match then {
            _ if held.mode != Mode::Exclusive => Ok(None),
            None => self.free(held).await.map(Some),
            Some(then) if then.mode == Mode::Exclusive && !self.is_retired(then.owner) => {
                self.hand_over(held, then).await
            }
            Some(_) => Ok(None),
        };
        match done {
            Ok(Some(released)) => Ok(released),
            Ok(None) | Err(Trouble { is: Is::Beaten, .. }) => self.release_row(held, then).await,
            Err(trouble) => Err(trouble.error),
        }
    }

    /// By one statement.
    async fn free(&self, held: &Held) -> Result<Released, Trouble> {
        let session = self.store.session().await?;
        let values = [("name", named(held.name.as_str())), ("owner", text::owner(held.owner))];
        let row = session.ask_one(&self.store.table.sql.release, &values).await?;
        let now = Instant::from_nanos(column::<u64>(&row, "now")?.saturating_mul(1000));
        let line = column::<Option<String>>(&row, "line")?;
        let line = line.map_or(Ok(Vec::new()), |line| lists::read_line(&line));
        // It is given back, whoever waits.
        let line = line.unwrap_or_default();
        let others = line.iter().filter(|waiter| waiter.until > now).count();
        Ok(Released { held: has_written(&row)?, next: None, others })
    }

    /// The same with the next owner; nothing if it takes more than one statement.
    async fn hand_over(&self, held: &Held, then: &Claim) -> Result<Option<Released>, Trouble> {
        let session = self.store.session().await?;
        let values = [
            ("name", named(held.name.as_str())),
            ("owner", text::owner(held.owner)),
            ("next", text::owner(then.owner)),
            ("ttl", micros(then.ttl).to_string()),
            ("client", NO_ADDRESS.to_string()),
            ("label", text::text(&then.label)),
        ];
        let row = session.ask_one(&self.store.table.sql.hand_over, &values).await?;
        if !has_written(&row)? {
            return Ok(None);
        }
        let next = Answer::Granted { fence: column(&row, "granted")?, slot: 0, term: None };
        Ok(Some(Released { held: true, next: Some(next), others: 0 }))
    }

    /// The same by the lock's row.
    async fn release_row(&self, held: &Held, then: Option<&Claim>) -> Result<Released, Error> {
        let release = |record: &mut Record, now: Now| {
            let was_held = record.release(held.owner, now.instant);
            let is_free = was_held && record.tenants.is_empty();
            let next = then.map(|then| match is_free && !self.is_retired(then.owner) {
                true => record.hand_over(then, NO_ADDRESS, now),
                false => self.claim_in(record, then, now),
            });
            let others = record.waiters_besides(then.map(|then| then.owner));
            Released { held: was_held, next, others }
        };
        self.change(&held.name, release).await
    }

    pub(super) async fn look_at(&self, name: Option<&LockName>) -> Result<Vec<Status>, Error> {
        let which = match name {
            Some(name) => format!("t.name = {}", named(name.as_str())),
            None => "t.owner IS NOT NULL OR t.line IS NOT NULL".to_owned(),
        };
        let session = self.store.session().await?;
        let sql = &self.store.table.sql.read_many;
        let rows = self.store.read_rows(&session, sql, &[("which", which)]).await;
        let rows = rows.map_err(Error::from)?;
        let status = |mut seen: Seen| {
            seen.record.expire(seen.now.instant);
            let name = LockName::new(&seen.name);
            (!seen.record.is_idle()).then(|| Ok(seen.record.status(&name?, seen.now.instant)))
        };
        rows.into_iter().filter_map(status).collect()
    }
}
