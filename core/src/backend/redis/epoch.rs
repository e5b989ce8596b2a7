//! Which server it is, and its own record of that: for quarantines and quorums.

use std::sync::Arc;

use ::redis::Value;

use super::address::Address;
use super::failure::Failure;
use super::link::Link;
use super::request::Request;
use super::servers::{Servers, misled};
use super::{scripts, strange};
use crate::backend::quorum::ServerId;
use crate::error::{Error, Kind};
use crate::runtime::Runtime;
use crate::time::Instant;

/// Which server it is.
pub(super) struct Epoch {
    pub(super) identity: String,
    /// Its process.
    pub(super) server: ServerId,
    /// Rises with every quarantine.
    pub(super) number: u64,
    /// Whether it has no record yet, and so grants nothing.
    pub(super) is_missing: bool,
    /// What its wall clock showed, and when.
    pub(super) micros: u64,
    pub(super) at: Instant,
}

/// What to do about a server that has no record.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unrecorded {
    /// It may have lost data.
    Quarantine,
    /// Nothing yet.
    Look,
    /// It is new.
    Found,
}

/// Learn which server it is; `None` where that does not matter. Refused if it is
/// another node's, of the `servers` or by its own record.
pub(super) async fn enter(
    link: &Arc<Link>,
    address: &Address,
    unrecorded: Unrecorded,
    number: u64,
    servers: Option<&Servers>,
    runtime: &dyn Runtime,
) -> Result<Option<Epoch>, Failure> {
    let Some(quarantine) = &address.quarantine else { return Ok(None) };
    let node = if address.is_node { &*address.shown } else { "" };
    let epoch = Request::over(&scripts::EPOCH, &[&*address.epoch_key])
        .arg(quarantine.span.as_millis() as u64)
        .arg(&quarantine.agreed)
        .arg(number)
        .arg(match unrecorded {
            Unrecorded::Quarantine => "quarantine",
            Unrecorded::Look => "look",
            Unrecorded::Found => "found",
        })
        .arg(node)
        .arg(&servers.map_or(String::new(), |servers| servers.others(node)));
    let answer = epoch.send_whole(link).await?;
    let at = runtime.now();
    let Value::Array(parts) = &answer else { return Err(strange(&answer).into()) };
    let text = |part: &Value| match part {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    };
    match &parts[..] {
        [what, other] => match (&*text(what), text(other)) {
            ("other", others) => Err(disagreement(&others, &quarantine.agreed, address).into()),
            ("node", other) => Err(misled(node, &other, &address.epoch_key).into()),
            (_, run_id) => {
                servers.map_or(Ok(()), |servers| servers.meet(node, &run_id))?;
                Err(Error::unavailable("another node's server was there until now").into())
            }
        },
        [what, identity, Value::Int(number), Value::Int(micros)] => {
            let identity = text(identity);
            let run_id = identity.get(..RUN_ID).ok_or_else(|| strange(parts))?;
            servers.map_or(Ok(()), |servers| servers.meet(node, run_id))?;
            // Most of it is enough to tell servers apart.
            let most = run_id.get(..32).unwrap_or_default();
            let server = u128::from_str_radix(most, 16).map_err(|_| strange(parts))?;
            Ok(Some(Epoch {
                server: ServerId(server),
                identity,
                number: *number as u64,
                is_missing: text(what) == "missing",
                micros: *micros as u64,
                at,
            }))
        }
        _ => Err(strange(parts).into()),
    }
}

/// How many hexadecimal digits stand first in an identity, of the process.
const RUN_ID: usize = 40;

fn disagreement(others: &str, ours: &str, address: &Address) -> Error {
    let message = format!(
        "other clients use this server as {others}, this one as {ours}; give all the same URL. To \
         change what they use, stop them all, then DEL \"{}\" in redis-cli on every server",
        // As redis-cli reads it.
        address.epoch_key.replace('\0', "\\x00")
    );
    Error::new(Kind::Refused, message)
}
