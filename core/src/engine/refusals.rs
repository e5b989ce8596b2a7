//! Why a lock was not granted, for people to read.

use std::time::Duration;

use super::Plan;
use crate::backend::Mode;
use crate::error::{Error, Kind};

/// The name is in use in another way.
pub(super) fn other_kind(used: Mode, asked: Mode) -> Error {
    let name = |mode| match mode {
        Mode::Exclusive => "without permits".to_owned(),
        Mode::Shared => "as a shared lock".to_owned(),
        Mode::Counted { permits: 1 } => "with 1 permit".to_owned(),
        Mode::Counted { permits } => format!("with {permits} permits"),
    };
    let (used, asked) = (name(used), name(asked));
    let message = format!(
        "the name is in use {used} and cannot be used {asked} meanwhile; all who use a name say the \
         same"
    );
    Error::new(Kind::Refused, message)
}

/// It was granted, and the lease would be over by now.
pub(super) fn late(took: Duration, plan: &Plan) -> Error {
    let ttl = plan.ttl;
    Error::unavailable(format!(
        "the lock was granted, but the answer took {took:.1?}, and of a ttl of {ttl:?} nothing was \
         left then; use a longer one on a slow connection"
    ))
}
