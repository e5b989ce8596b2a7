//! Where the server is and how to log in: what a URL and its options say.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ::redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};

use super::keys;
use crate::backend::net::{self, Timeouts};
use crate::error::Error;
use crate::time::drift;

/// A server, and how this client uses it.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(super) endpoint: Endpoint,
    pub(super) login: RedisConnectionInfo,
    /// Stands before every lock's name.
    pub(super) prefix: String,
    /// Where it is stored which server it was when data may have been lost last.
    pub(super) epoch_key: String,
    pub(super) quarantine: Option<Quarantine>,
    pub(super) timeouts: Timeouts,
    /// For how long after its last use a name is remembered.
    pub(super) remember: Duration,
    /// Whether it is one of a quorum.
    pub(super) is_node: bool,
    /// As messages name the server: no user, no password.
    pub(super) shown: String,
}

#[derive(Clone, Debug)]
pub(super) enum Endpoint {
    Tcp {
        host: String,
        port: u16,
    },
    #[cfg(feature = "tls")]
    Tls {
        host: String,
        port: u16,
        ca: Option<PathBuf>,
    },
    Unix(PathBuf),
}

/// After a restart that may have lost data nothing is granted for a while.
#[derive(Clone, Debug)]
pub(super) struct Quarantine {
    /// The longest ttl that anybody may ask for.
    pub(super) max_ttl: Duration,
    /// Longer than any lease granted before can be believed in.
    pub(super) span: Duration,
    /// What all clients must agree on.
    pub(super) agreed: String,
    /// While it is true, a server without a record may be a new one.
    pub(super) founding: Arc<AtomicBool>,
}

impl Quarantine {
    fn of_one_server(max_ttl: Duration) -> Self {
        let agreed = format!("one server, max_ttl={max_ttl:?}");
        let founding = Arc::new(AtomicBool::new(false));
        Self { max_ttl, span: max_ttl + drift(max_ttl), agreed, founding }
    }
}

const PREFIX: &str = "leasehold:";
const MAX_TTL: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(60 * 60);
pub(super) const REMEMBER: Duration = Duration::from_secs(24 * 60 * 60);

impl Address {
    /// A lease longer than the quarantine could outlive it.
    pub(super) fn check_ttl(&self, ttl: Duration) -> Result<(), Error> {
        match self.quarantine {
            Some(Quarantine { max_ttl, .. }) if ttl > max_ttl => Err(Error::invalid(format!(
                "a ttl of {ttl:?}, the delay included, is more than the {max_ttl:?} of max_ttl, after which \
                 quarantine=on trusts a restarted server; raise max_ttl in every client's URL"
            ))),
            _ => Ok(()),
        }
    }

    pub(crate) const SCHEMES: [&str; 7] =
        ["redis", "rediss", "valkey", "valkeys", "redis+unix", "valkey+unix", "unix"];

    /// Read a URL without its query, and the options from the query.
    pub(crate) fn parse(address: &str, options: &[(String, String)]) -> Result<Self, Error> {
        let (scheme, rest) = address.split_once(':').unwrap_or((address, ""));
        let tls = matches!(scheme, "rediss" | "valkeys");
        if tls && !cfg!(feature = "tls") {
            return Err(unreadable(scheme, "this build lacks the feature tls"));
        }
        if rest.contains('#') {
            let cure = "percent-encode it as %23; there is no insecure mode, use ca=FILE";
            return Err(Error::invalid(format!("a # in a {scheme}: URL: {cure}")));
        }
        let scheme_without_tls = if tls { "redis" } else { scheme };
        let mut url = ::redis::parse_redis_url(&format!("{scheme_without_tls}:{rest}"))
            .ok_or_else(|| unreadable(scheme, "expected redis://user:password@host:port/db"))?;
        let mut rest = Rest::default();
        for (option, value) in options {
            if let Some(set) = rest.timeouts.set(option, value) {
                set?;
                continue;
            }
            match &**option {
                "prefix" => rest.prefix = Some(prefix(value)?),
                "remember" => rest.remember = Some(remember(value)?),
                "quarantine" => rest.quarantine = on_or_off(value)?,
                "max_ttl" => rest.max_ttl = Some(span(value)?),
                "ca" if tls => rest.ca = Some(value.into()),
                "db" | "user" | "pass" if scheme.ends_with("unix") => {
                    url.query_pairs_mut().append_pair(option, value);
                }
                _ => return Err(unknown(option, tls)),
            }
        }
        let info = url.into_connection_info().map_err(|e| unreadable(scheme, &e.to_string()))?;
        rest.address(scheme, tls, info.addr(), info.redis_settings().clone())
    }
}

/// What the options say.
#[derive(Default)]
struct Rest {
    prefix: Option<String>,
    quarantine: bool,
    max_ttl: Option<Duration>,
    remember: Option<Duration>,
    ca: Option<PathBuf>,
    timeouts: Timeouts,
}

impl Rest {
    fn address(
        self,
        scheme: &str,
        #[cfg_attr(not(feature = "tls"), allow(unused_variables))] tls: bool,
        at: &ConnectionAddr,
        login: RedisConnectionInfo,
    ) -> Result<Address, Error> {
        let endpoint = match at.clone() {
            #[cfg(feature = "tls")]
            ConnectionAddr::Tcp(host, port) if tls => Endpoint::Tls { host, port, ca: self.ca },
            ConnectionAddr::Tcp(host, port) => Endpoint::Tcp { host, port },
            ConnectionAddr::Unix(path) => Endpoint::Unix(path),
            _ => return Err(unreadable(scheme, "this kind of address is not supported")),
        };
        let max_ttl = self.max_ttl.unwrap_or(MAX_TTL);
        if self.max_ttl.is_some() && !self.quarantine {
            return Err(Error::invalid("max_ttl in the URL means nothing without quarantine=on"));
        }
        let database = match login.db() {
            0 => String::new(),
            number => format!("/{number}"),
        };
        let shown = match &endpoint {
            Endpoint::Unix(path) => format!("{scheme}:{}", path.display()),
            Endpoint::Tcp { host, port } => format!("{scheme}://{host}:{port}{database}"),
            #[cfg(feature = "tls")]
            Endpoint::Tls { host, port, .. } => format!("{scheme}://{host}:{port}{database}"),
        };
        let prefix = self.prefix.unwrap_or_else(|| PREFIX.to_owned());
        let quarantine = self.quarantine.then(|| Quarantine::of_one_server(max_ttl));
        let (timeouts, remember) = (self.timeouts, self.remember.unwrap_or(REMEMBER));
        Ok(Address {
            epoch_key: keys::epoch_key(&prefix),
            endpoint,
            login,
            prefix,
            quarantine,
            timeouts,
            remember,
            is_node: false,
            shown,
        })
    }
}

/// It does not quote the URL, which may hold a password.
fn unreadable(scheme: &str, why: &str) -> Error {
    Error::invalid(format!("the {scheme}: URL cannot be read: {why}"))
}

fn unknown(option: &str, tls: bool) -> Error {
    let known = "ttl, delay, wait, max_hold, label, prefix, quarantine, max_ttl, remember, \
                 connect_timeout, response_timeout";
    let known = if tls { format!("{known}, ca") } else { known.to_owned() };
    Error::invalid(format!("unknown option {option:?} in the URL; there are {known}"))
}

fn on_or_off(value: &str) -> Result<bool, Error> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(Error::invalid(format!("quarantine={value} in the URL is neither on nor off"))),
    }
}

pub(super) fn span(value: &str) -> Result<Duration, Error> {
    net::span("max_ttl", value)
}

/// What a NUL follows is ours.
fn prefix(value: &str) -> Result<String, Error> {
    match value.contains('\0') {
        true => Err(Error::invalid("prefix in the URL cannot hold a NUL byte")),
        false => Ok(value.to_owned()),
    }
}

/// Not less than a claim may be on its way, which is refused for as long.
fn remember(value: &str) -> Result<Duration, Error> {
    let span = humantime::parse_duration(value).ok();
    span.filter(|span| (HOUR..=30 * REMEMBER).contains(span)).ok_or_else(|| {
        Error::invalid(format!("remember={value} in the URL is not a time from 1h to 30d"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn parse(url: &str) -> Result<Address, Error> {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let options: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Address::parse(address, &options)
    }

    #[test]
    fn every_part_of_a_url_is_used_and_passwords_are_not_shown() {
        let address = parse("redis://ann:p%40ss@h:7000/3?prefix=a:").unwrap();
        let login = &address.login;
        assert_eq!((login.username(), login.password()), (Some("ann"), Some("p@ss")));
        assert_eq!((address.shown.as_str(), address.prefix.as_str()), ("redis://h:7000/3", "a:"));
        let address = parse("redis://h?connect_timeout=7s&response_timeout=400ms").unwrap();
        let (connect, response) = (Duration::from_secs(7), Duration::from_millis(400));
        assert_eq!(address.timeouts, Timeouts { connect, response });
        let address = parse("redis+unix:///run/redis.sock?db=2&pass=x").unwrap();
        assert_eq!((address.login.db(), address.login.password()), (2, Some("x")));
        assert!(!address.shown.contains('x') || address.shown.contains("unix"));
        assert!(matches!(
            parse("rediss://h?ca=/x").unwrap().endpoint,
            Endpoint::Tls { ca: Some(_), .. }
        ));
        assert!(matches!(
            parse("valkey://[::1]").unwrap().endpoint,
            Endpoint::Tcp { port: 6379, .. }
        ));
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        for (url, word) in [
            ("redis://h?prefx=a", "prefx"),
            ("redis://h?ca=/x", "ca"),
            ("redis://h?db=1", "db"),
            ("redis://h?quarantine=1", "neither"),
            ("redis://h?max_ttl=30s", "quarantine"),
            ("redis://h?quarantine=on&max_ttl=30", "max_ttl"),
            ("redis://h?connect_timeout=5", "connect_timeout"),
            ("redis://h?response_timeout=0s", "response_timeout"),
            ("redis://h/x", "database"),
            ("redis://h?prefix=a%00b", "NUL"),
            ("redis://h?remember=59m", "1h"),
            ("redis:///1", "host"),
            ("rediss://h#insecure", "insecure"),
        ] {
            let error = parse(url).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{url}");
            assert!(error.to_string().contains(word), "{url}: {error}");
        }
    }
}
