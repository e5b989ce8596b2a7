//! How the program ends: the exit codes and the one error type.

use leasehold::{Error, Kind};
use rustix::io::Errno;

/// All went well.
pub(crate) const OK: u8 = 0;
/// `break`: nobody held the lock, or the answer was no.
pub(crate) const NOT_BROKEN: u8 = 1;
/// `leader`: nobody leads.
pub(crate) const NO_LEADER: u8 = 1;
/// The arguments cannot be used (EX_USAGE of sysexits, as are the next five).
pub(crate) const USAGE: u8 = 64;
/// The backend cannot be reached, or there are no descriptors or threads left.
pub(crate) const UNAVAILABLE: u8 = 69;
/// A bug, or a system on which it cannot work.
pub(crate) const INTERNAL: u8 = 70;
/// Stdout cannot be written.
pub(crate) const OUTPUT: u8 = 74;
/// The lock was busy (EX_TEMPFAIL: try again later).
pub(crate) const BUSY: u8 = 75;
/// The backend's state or settings make it unsafe to go on.
pub(crate) const REFUSED: u8 = 78;
/// The lease was lost and the command stopped, or it ended well without the lock.
pub(crate) const LOST: u8 = 79;
/// The command cannot be executed, as shells say it.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// The command was not found, as shells say it.
pub(crate) const NOT_FOUND: u8 = 127;

/// The exit code for an end by a signal, as shells say it.
pub(crate) fn by_signal(signal: i32) -> u8 {
    128 + (signal & 0x7f) as u8
}

/// What there is too little of, if that is what the error says: it may be there later.
pub(crate) fn used_up(cause: &std::io::Error) -> Option<&'static str> {
    match Errno::from_io_error(cause)? {
        Errno::MFILE => Some("too few file descriptors are allowed; raise `ulimit -n`"),
        Errno::NFILE => Some("the system has no file descriptors left"),
        Errno::AGAIN => Some("too few processes and threads are allowed; raise `ulimit -u`"),
        Errno::NOMEM => Some("there is no memory left"),
        _ => None,
    }
}

/// Why the program ends with an error: a message for people, a code for scripts.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, message)
    }

    /// The system refuses what every program may have, or has no more of it to give.
    pub(crate) fn system(what: &str, cause: &std::io::Error) -> Self {
        let used_up = used_up(cause);
        let code = used_up.map_or(INTERNAL, |_| UNAVAILABLE);
        let hint = used_up.map(|hint| format!("; {hint}")).unwrap_or_default();
        Self::new(code, format!("{what}: {cause}{hint}"))
    }

    pub(crate) fn output(cause: std::io::Error) -> Self {
        Self::new(OUTPUT, format!("cannot write the output: {cause}"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            Kind::Timeout => BUSY,
            Kind::Lost => LOST,
            Kind::Invalid => USAGE,
            Kind::Unavailable => UNAVAILABLE,
            Kind::Refused | Kind::Unsupported => REFUSED,
            _ => INTERNAL,
        };
        Self::new(code, error.to_string())
    }
}
