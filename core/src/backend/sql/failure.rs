//! What it means that a statement has failed.

use crate::error::{Error, Outcome};

/// A statement without a usable answer.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) error: Error,
    pub(crate) is: Is,
}

/// What kind of failure it is, where something else than telling is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Is {
    /// Others were faster: ask again at once.
    Beaten,
    /// Somebody keeps the row from being changed.
    Locked,
    /// The session is not to be used any more.
    Broken,
    /// The server ended the statement because it took too long.
    Cancelled,
    /// The server does not know the prepared statement any more, or not as it was.
    Forgotten,
    /// What was to be made is there already.
    Duplicate,
    /// There is no such table.
    Missing,
    /// There is not one row, as if the table had none about itself.
    Empty,
    /// The user may not do it.
    Forbidden,
    /// None of these: it is only told.
    Told,
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        trouble.error
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self { error, is: Is::Told }
    }
}

impl Trouble {
    /// The server, which is `supposed` to be of some kind, has answered what none of that kind
    /// does. The statement may have been carried out.
    pub(crate) fn strange(what: &str, supposed: &str) -> Self {
        Self::broken(Error::unavailable(format!("the server has sent {what}; is it {supposed}?")))
    }

    /// A row of the table is not as we write them. Whether the statement was carried out is not
    /// known.
    pub(crate) fn unreadable(what: &str) -> Self {
        Self::broken(Error::unavailable(format!(
            "a row of the table cannot be read: it has {what}; has somebody else written to it?"
        )))
    }

    /// The connection broke before an answer came.
    pub(crate) fn lost(why: &dyn std::error::Error) -> Self {
        Self::broken(Error::unavailable("the connection to the server broke").because(whole(why)))
    }

    /// The statement may have been carried out, and the session is not to be used any more.
    pub(super) fn broken(error: Error) -> Self {
        Self { error: error.with_outcome(Outcome::Unknown), is: Is::Broken }
    }

    /// The statement was only to read, so nothing is held by it.
    pub(crate) fn of_reading(mut self) -> Self {
        self.error = self.error.with_outcome(Outcome::NotHeld);
        self
    }
}

/// The messages of an error and of its causes.
pub(crate) fn whole(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !said.contains(&next) {
            said = format!("{said}: {next}");
        }
        cause = error.source();
    }
    said
}
