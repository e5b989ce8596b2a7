//! What can be set, and the bounds of it.

use std::time::Duration;

use crate::error::Error;

/// What can be set per lock, and per client for all its locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) ttl: Duration,
    pub(crate) delay: Duration,
    pub(crate) wait: Option<Duration>,
    pub(crate) max_hold: Option<Duration>,
    pub(crate) auto_renew: bool,
    pub(crate) label: String,
}

impl Default for Settings {
    fn default() -> Self {
        let ttl = Duration::from_secs(10);
        let (delay, label) = (Duration::ZERO, String::new());
        Self { ttl, delay, wait: None, max_hold: None, auto_renew: true, label }
    }
}

impl Settings {
    const SHORTEST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
    const LONGEST_LABEL: usize = 256;

    /// Refuse what no server counts.
    pub(crate) fn check_ttl(ttl: Duration, delay: Duration) -> Result<(), Error> {
        if !(Self::SHORTEST..=Self::LONGEST).contains(&ttl) {
            return Err(Error::invalid(format!(
                "ttl must be from {:?} to 24h, not {ttl:?}; a lease is renewed for as long as it \
                 is held, so the ttl only bounds how long a crash keeps others waiting",
                Self::SHORTEST,
            )));
        }
        if ttl.saturating_add(delay) > Self::LONGEST {
            return Err(Error::invalid(format!(
                "delay must be from 0 to 24h, the ttl included, not {delay:?} after a ttl of \
                 {ttl:?}; after a crash others wait for both"
            )));
        }
        Ok(())
    }

    /// Refuse tickets that no server counts.
    pub(crate) fn check_validity(valid: Duration, delay: Duration) -> Result<(), Error> {
        if valid < Self::SHORTEST || valid.saturating_add(delay) > Self::LONGEST {
            return Err(Error::invalid(format!(
                "a ticket is valid from {:?} to 24h, the delay of {delay:?} included, not {valid:?}",
                Self::SHORTEST
            )));
        }
        Ok(())
    }

    /// Refuse what cannot be kept.
    pub(crate) fn check(&self) -> Result<(), Error> {
        Self::check_ttl(self.ttl, self.delay)?;
        if let Some(most) = self.max_hold.filter(|most| *most < Self::SHORTEST) {
            return Err(Error::invalid(format!(
                "max_hold must be at least {:?}, not {most:?}",
                Self::SHORTEST
            )));
        }
        Self::check_label(&self.label, "a label")
    }

    /// Refuse what is not shown to others as it is; `what` is its name for the user.
    pub(crate) fn check_label(text: &str, what: &str) -> Result<(), Error> {
        if text.len() > Self::LONGEST_LABEL || text.chars().any(char::is_control) {
            return Err(Error::invalid(format!(
                "{what} is a short text of at most {} bytes without control characters, not \
                 {text:?}",
                Self::LONGEST_LABEL,
            )));
        }
        Ok(())
    }
}

/// How long a lock can rest: what a server counts, and more than a year.
pub(crate) fn check_rest(option: &str, span: Duration) -> Result<(), Error> {
    const LONGEST: Duration = Duration::from_secs(400 * 24 * 60 * 60);
    match span <= LONGEST {
        true => Ok(()),
        false => Err(Error::invalid(format!("{option} must be at most 400 days, not {span:?}"))),
    }
}
