//! What the errors of servers mean, and what to do about them.

use crate::error::{Error, Kind, Outcome};

/// A request without a usable answer.
#[derive(Debug)]
pub(super) struct Failure {
    /// The first word of the server's answer; empty if it did not answer.
    pub(super) code: String,
    pub(super) error: Error,
}

impl Failure {
    /// What a server answered instead of doing it. Nothing has changed, unless a
    /// script was stopped midway.
    pub(super) fn refusal(said: &str) -> Self {
        let code = code_within(said.split(' ').next().unwrap_or_default(), said);
        let known = WORDS.iter().find(|known| said.contains(known.0));
        let known = known.or_else(|| MEANINGS.iter().find(|known| known.0 == code));
        let (kind, cure) = known.map_or((Kind::Internal, "the request failed"), |m| (m.1, m.2));
        let error = Error::new(kind, format!("{cure} (the server says: {})", said.trim_end()));
        let outcome = match is_about_a_script(said) {
            true => Outcome::Unknown,
            false => Outcome::NotHeld,
        };
        let error = error.with_outcome(outcome);
        Self { code: code.to_owned(), error }
    }

    /// Whether the server has answered, be it by an error.
    pub(super) fn is_answer<T>(result: &Result<T, Self>) -> bool {
        result.as_ref().map_or_else(|failure| !failure.code.is_empty(), |_| true)
    }

    /// Whether another connection may do better: the server's name may lead to
    /// another one by now.
    pub(super) fn is_about_the_server(&self) -> bool {
        matches!(&*self.code, "READONLY" | "MASTERDOWN")
    }

    pub(super) fn is_unknown_command(&self) -> bool {
        self.code == "ERR" && self.error.to_string().contains("unknown command")
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { code: String::new(), error }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// Whether a command of a script has failed, after others that were carried out.
fn is_about_a_script(said: &str) -> bool {
    said.contains("script: ") || said.contains("user_script:")
}

/// Redis 6 wraps what a command of a script fails with in an error of its own.
fn code_within<'a>(code: &'a str, said: &'a str) -> &'a str {
    let mut words = said.split(['-', ' ', ':']);
    let wrapped = words.find(|word| MEANINGS.iter().any(|known| known.0 == *word));
    if code == "ERR" { wrapped.unwrap_or(code) } else { code }
}

/// Those that have no code of their own.
const WORDS: &[(&str, Kind, &str)] = &[
    (
        "max number of clients reached",
        Kind::Unavailable,
        "the server has as many clients as it may; raise its maxclients",
    ),
    (
        "unknown command",
        Kind::Unsupported,
        "the server lacks a command that is needed; is it a sentinel, a proxy, or older than 6.2?",
    ),
];

const MEANINGS: &[(&str, Kind, &str)] = &[
    (
        "DENIED",
        Kind::Refused,
        "the server is in protected mode and takes only clients of its own machine; give it a \
         password, or bind it to an address",
    ),
    ("LOADING", Kind::Unavailable, "the server is still loading its data"),
    ("READONLY", Kind::Unavailable, "this server is a replica; the URL must lead to the primary"),
    ("MASTERDOWN", Kind::Unavailable, "this server is a replica without a primary"),
    (
        "OOM",
        Kind::Unavailable,
        "the server is out of memory: raise maxmemory, or keep locks on a server of their own",
    ),
    (
        "MISCONF",
        Kind::Unavailable,
        "the server cannot write to its disk and refuses changes; see its log",
    ),
    ("BUSY", Kind::Unavailable, "the server is busy with somebody's script"),
    ("TRYAGAIN", Kind::Unavailable, "the cluster moves this slot"),
    ("CLUSTERDOWN", Kind::Unavailable, "the cluster is down"),
    ("NOREPLICAS", Kind::Unavailable, "the server has too few replicas to accept writes"),
    (
        "MOVED",
        Kind::Unsupported,
        "this is a node of a cluster; Leasehold needs one server, not a cluster",
    ),
    (
        "CROSSSLOT",
        Kind::Unsupported,
        "this is a node of a cluster; Leasehold needs one server, not a cluster",
    ),
    (
        "NOPERM",
        Kind::Refused,
        "the server's user may not do this; it needs the keys of the prefix, the channels \
         leasehold:*, and the commands of our scripts (ACL SETUSER … ~PREFIX* &leasehold:* +@all \
         -@admin)",
    ),
    ("NOAUTH", Kind::Refused, "the server wants a password: redis://:password@host"),
    ("WRONGPASS", Kind::Refused, "the server does not accept this user and password"),
    (
        "WRONGTYPE",
        Kind::Refused,
        "the key of this lock holds something else; give the locks a prefix of their own with \
         ?prefix=…",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_inside_a_script_is_known_in_both_forms() {
        let plain = "OOM command not allowed when used memory > 'maxmemory'.";
        let wrapped =
            "ERR Error running script (call to f_1): @user_script:1: -OOM command not allowed";
        let whole = Failure::refusal("NOPERM this user has no permissions to run 'evalsha'");
        assert_eq!(whole.error.outcome(), Outcome::NotHeld);
        for text in [
            "NOPERM No permissions to access a channel script: 6f1, on @user_script:7.",
            "ERR Error running script (call to f_6f1): @user_script:7: NOPERM No permissions",
        ] {
            let midway = Failure::refusal(text);
            assert_eq!(midway.error.outcome(), Outcome::Unknown, "{text}");
        }
        for Failure { error, .. } in [plain, wrapped].map(Failure::refusal) {
            assert_eq!(error.kind(), Kind::Unavailable);
            assert!(error.to_string().contains("maxmemory"), "{error}");
        }
        for (said, kind) in [
            ("ERR syntax error", Kind::Internal),
            ("ERR max number of clients reached", Kind::Unavailable),
            ("ERR unknown command 'EVALSHA', with args beginning with: ", Kind::Unsupported),
            ("DENIED Redis is running in protected mode because", Kind::Refused),
        ] {
            assert_eq!(Failure::refusal(said).error.kind(), kind, "{said}");
        }
    }
}
