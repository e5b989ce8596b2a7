//! Where the cluster is and how to log in: what a URL and its options say.

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::messages::AuthenticateRequest;
use crate::backend::net::Timeouts;
use crate::error::Error;

const PORT: u16 = 2379;
const PREFIX: &str = "leasehold/";
/// How long one of several members is waited for.
const EACH: Duration = Duration::from_secs(2);

/// A cluster, and how this client uses it.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    /// The members: host and port.
    pub(super) endpoints: Vec<(String, u16)>,
    pub(super) login: Option<AuthenticateRequest>,
    pub(super) tls: Option<Tls>,
    /// Stands before every lock's name.
    pub(in crate::backend::etcd) prefix: String,
    /// As messages name the cluster: no user, no password.
    pub(super) shown: String,
    /// How long each member is waited for.
    pub(super) timeouts: Timeouts,
}

/// The files that encryption needs.
#[derive(Clone, Debug, Default)]
pub(super) struct Tls {
    pub(super) ca: Option<PathBuf>,
    pub(super) identity: Option<(PathBuf, PathBuf)>,
}

impl Address {
    /// Read a URL without its query, and the options from the query.
    pub(crate) fn parse(address: &str, options: &[(String, String)]) -> Result<Self, Error> {
        let (scheme, rest) = address.split_once(':').unwrap_or((address, ""));
        let is_encrypted = scheme == "etcds";
        if is_encrypted && !cfg!(feature = "tls") {
            return Err(unreadable(scheme, "this build lacks the feature tls"));
        }
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (login, hosts) = match rest.rsplit_once('@') {
            Some((login, hosts)) => (Some(read_login(scheme, login)?), hosts),
            None => (None, rest),
        };
        let hosts = hosts.strip_suffix('/').unwrap_or(hosts);
        let endpoints = hosts.split(',').map(|host| endpoint(scheme, host));
        let endpoints = endpoints.collect::<Result<Vec<_>, Error>>()?;
        let (mut prefix, mut tls) = (PREFIX.to_owned(), Tls::default());
        let (mut cert, mut key) = (None, None);
        let mut timeouts = match endpoints.len() {
            1 => Timeouts::default(),
            // There are others to ask.
            _ => Timeouts { connect: EACH, response: EACH },
        };
        for (option, value) in options {
            match &**option {
                "prefix" => prefix = value.clone(),
                "ca" if is_encrypted => tls.ca = Some(value.into()),
                "cert" if is_encrypted => cert = Some(PathBuf::from(value)),
                "key" if is_encrypted => key = Some(PathBuf::from(value)),
                _ => match timeouts.set(option, value) {
                    Some(set) => set?,
                    None => return Err(unknown(option, is_encrypted)),
                },
            }
        }
        tls.identity = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err(Error::invalid("cert and key in the URL belong together")),
        };
        let shown = format!("{scheme}://{hosts}");
        let tls = is_encrypted.then_some(tls);
        Ok(Self { endpoints, login, tls, prefix, shown, timeouts })
    }
}

fn read_login(scheme: &str, login: &str) -> Result<AuthenticateRequest, Error> {
    let missing = || unreadable(scheme, "a user needs a password: user:password@host");
    let (name, password) = login.split_once(':').ok_or_else(missing)?;
    let decode = |part: &str| {
        let text = percent_decode_str(part).decode_utf8();
        text.map(String::from).map_err(|_| unreadable(scheme, "user or password is no UTF-8"))
    };
    Ok(AuthenticateRequest { name: decode(name)?, password: decode(password)? })
}

fn endpoint(scheme: &str, host: &str) -> Result<(String, u16), Error> {
    let expected = || {
        let example = format!("expected {scheme}://host:port,host:port, not {host:?} as a host");
        unreadable(scheme, &example)
    };
    // The colons of an IPv6 address are inside brackets.
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().map_err(|_| expected())?),
        _ => (host, PORT),
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_host = |name: &str| !name.is_empty() && !name.contains(['/', '#', '[', ' ']);
    match bare.unwrap_or(name) {
        name if is_host(name) => Ok((name.to_owned(), port)),
        _ => Err(expected()),
    }
}

/// It does not quote the URL, which may hold a password.
fn unreadable(scheme: &str, why: &str) -> Error {
    Error::invalid(format!("the {scheme}: URL cannot be read: {why}"))
}

fn unknown(option: &str, is_encrypted: bool) -> Error {
    let known = "ttl, delay, wait, max_hold, label, prefix, connect_timeout, response_timeout";
    let known = if is_encrypted { format!("{known}, ca, cert, key") } else { known.to_owned() };
    Error::invalid(format!("unknown option {option:?} in the URL; there are {known}"))
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
        let address = parse("etcd://ann:p%40s%2Cs@a,b:1,[::1]:2?prefix=x/").unwrap();
        let endpoints = [("a".to_owned(), 2379), ("b".to_owned(), 1), ("::1".to_owned(), 2)];
        assert_eq!(address.endpoints, endpoints);
        let login = address.login.unwrap();
        assert_eq!((&*login.name, &*login.password), ("ann", "p@s,s"));
        assert_eq!((&*address.prefix, &*address.shown), ("x/", "etcd://a,b:1,[::1]:2"));
        assert!(address.tls.is_none());
        assert_eq!(address.timeouts, Timeouts { connect: EACH, response: EACH });
        assert_eq!(parse("etcd://a").unwrap().timeouts, Timeouts::default());
        let address = parse("etcd://a,b?connect_timeout=7s&response_timeout=300ms").unwrap();
        let (connect, response) = (Duration::from_secs(7), Duration::from_millis(300));
        assert_eq!(address.timeouts, Timeouts { connect, response });
        let address = parse("etcds://a/?ca=/ca&cert=/c&key=/k").unwrap();
        let tls = address.tls.unwrap();
        assert_eq!((tls.ca, tls.identity), (Some("/ca".into()), Some(("/c".into(), "/k".into()))));
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        for (url, word) in [
            ("etcd://", "host"),
            ("etcd://a,,b", "host"),
            ("etcd://a:x", "a:x"),
            ("etcd://a/b", "a/b"),
            ("etcd://ann@a", "password"),
            ("etcd://a?prefx=a", "prefx"),
            ("etcd://a?ca=/x", "ca"),
            ("etcds://a?cert=/x", "key"),
            ("etcd://a?connect_timeout=soon", "connect_timeout"),
            ("etcd://a?response_timeout=0s", "response_timeout"),
        ] {
            let error = parse(url).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{url}");
            assert!(error.to_string().contains(word), "{url}: {error}");
        }
    }
}
