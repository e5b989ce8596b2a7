//! `lead`: campaign, run the command while leading, and campaign again after a loss.

use std::time::Duration;

use crate::args::{Lead, OnLost, Run};
use crate::exit::{self, Failure};
use crate::run::{Session, Wait, Work};

/// A backend that is away is asked again after this.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) async fn lead(url: &str, args: Lead) -> Result<u8, Failure> {
    let mut session = Session::new(url, args.into())?;
    let code = terms(&mut session).await;
    session.clean_up().await;
    code
}

async fn terms(session: &mut Session) -> Result<u8, Failure> {
    loop {
        let lease = match session.wait().await {
            Ok(Wait::Granted(lease)) => lease,
            Ok(Wait::Signal(signal)) => return Ok(exit::by_signal(signal.as_raw())),
            Err(failure) if failure.code == exit::UNAVAILABLE => {
                crate::say(&format!("the campaign goes on: {}", failure.message));
                match session.pause(PAUSE).await {
                    Some(signal) => return Ok(exit::by_signal(signal.as_raw())),
                    None => continue,
                }
            }
            Err(failure) => return Err(failure),
        };
        session.note(&lease);
        let worked = session.work(&lease).await;
        let released = session.release(&lease).await;
        match worked {
            Ok(Work::Ended(code)) => return Ok(session.ended(code, released)),
            Ok(Work::Lost(_)) => {}
            // Before the command was started.
            Err(failure) if failure.code == exit::LOST => {}
            Err(failure) => return Err(failure),
        }
        // The command was told to end, and the loss was first.
        if let Some(signal) = session.is_asked_to_end() {
            return Ok(exit::by_signal(signal.as_raw()));
        }
    }
}

impl From<Lead> for Run {
    fn from(lead: Lead) -> Self {
        let Lead { name, value, ttl, delay, max_hold, command } = lead;
        Self {
            names: name.into(),
            ttl,
            delay,
            wait: None,
            no_wait: false,
            busy_exit: None,
            every: None,
            slot: None,
            shared: false,
            permits: None,
            // What an election shows is no label of the URL's.
            label: Some(value.unwrap_or_default()),
            max_hold,
            min_hold: None,
            on_lost: OnLost::Terminate,
            command,
        }
    }
}
