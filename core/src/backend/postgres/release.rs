//! Giving a lock back, and looking at who has it.

use tokio_postgres::types::Type;

use super::failure::{Is, Trouble};
use super::rows::{column, micros};
use super::store::Moment;
use super::{Postgres, next_client};
use crate::backend::record::Record;
use crate::backend::{Answer, Claim, Held, Mode, Released, Status};
use crate::error::Error;
use crate::name::LockName;

impl Postgres {
    pub(super) async fn give_back(
        &self,
        held: &Held,
        then: Option<&Claim>,
    ) -> Result<Released, Error> {
        let done = match then {
            _ if held.mode != Mode::Exclusive => Ok(None),
            None => self.free(held).await,
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

    /// By one statement; nothing if it takes more.
    async fn free(&self, held: &Held) -> Result<Option<Released>, Trouble> {
        let session = self.store.requests.session().await?;
        let (name, owner) = (held.name.as_str(), held.owner.to_string());
        let parameters = [(&name as _, Type::TEXT), (&owner as _, Type::TEXT)];
        let rows = session.ask(&self.store.table.sql.release, &parameters).await?;
        let row = self.store.answer_to(&session, &rows, "released", &owner)?;
        let was_held = column(row, "held")?;
        let others = column::<i64>(row, "others")? as usize;
        Ok(Some(Released { held: was_held, next: None, others }))
    }

    /// The same with the next owner.
    async fn hand_over(&self, held: &Held, then: &Claim) -> Result<Option<Released>, Trouble> {
        let session = self.store.requests.session().await?;
        let (name, owner, next) =
            (held.name.as_str(), held.owner.to_string(), then.owner.to_string());
        let (ttl, client) = (micros(then.ttl), self.store.address() as i64);
        let parameters = [
            (&name as _, Type::TEXT),
            (&owner as _, Type::TEXT),
            (&next as _, Type::TEXT),
            (&ttl as _, Type::INT8),
            (&client as _, Type::INT8),
            (&&*then.label as _, Type::TEXT),
        ];
        let rows = session.ask(&self.store.table.sql.hand_over, &parameters).await?;
        let row = self.store.answer_to(&session, &rows, "claimed", &next)?;
        Ok(column::<Option<i64>>(row, "granted")?.map(|fence| {
            let next = Answer::Granted { fence: fence as u64, slot: 0, term: None };
            Released { held: true, next: Some(next), others: 0 }
        }))
    }

    /// The same by the lock's row.
    async fn release_row(&self, held: &Held, then: Option<&Claim>) -> Result<Released, Error> {
        let release = |record: &mut Record, moment: Moment| {
            let was_held = record.release(held.owner, moment.now.instant);
            let is_free = was_held && record.tenants.is_empty() && moment.may_grant;
            let next = then.map(|then| match is_free && !self.is_retired(then.owner) {
                true => record.hand_over(then, self.store.address(), moment.now),
                false => self.claim_in(record, then, moment),
            });
            let others = record.waiters_besides(then.map(|then| then.owner));
            (Released { held: was_held, next, others }, next_client(record))
        };
        self.change(&held.name, release).await
    }

    pub(super) async fn look_at(&self, name: Option<&LockName>) -> Result<Vec<Status>, Error> {
        let names = name.map(|name| vec![name.as_str()]);
        let sql = &self.store.table.sql.read_many;
        let rows = self.store.read_rows(sql, &[(&names, Type::TEXT_ARRAY)]).await?;
        let status = |(name, mut seen): (LockName, super::rows::Seen)| {
            seen.record.expire(seen.now.instant);
            (!seen.record.is_idle()).then(|| seen.record.status(&name, seen.now.instant))
        };
        Ok(rows.into_iter().filter_map(status).collect())
    }
}
