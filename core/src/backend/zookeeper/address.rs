//! Where the servers are and how to log in: what a URL and its options say.

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::backend::net::{Timeouts, span};
use crate::error::Error;

const PORT: u16 = 2181;
const BASE: &str = "/leasehold";
/// How long one of several servers is waited for.
const EACH: Duration = Duration::from_secs(2);

/// The servers, and how this client uses them.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    /// Host and port.
    pub(super) servers: Vec<(String, u16)>,
    /// User and password.
    pub(super) login: Option<(String, String)>,
    pub(super) tls: Option<Tls>,
    /// The node below which the locks are.
    pub(super) base: String,
    /// As messages name it: no user, no password.
    pub(super) shown: String,
    /// How long each server is waited for.
    pub(super) timeouts: Timeouts,
    /// The servers' `tickTime`, if the URL tells.
    pub(super) tick: Option<Duration>,
}

/// The files that encryption needs.
#[derive(Clone, Debug, Default)]
#[cfg_attr(not(feature = "tls"), allow(dead_code))]
pub(super) struct Tls {
    pub(super) ca: Option<PathBuf>,
    pub(super) identity: Option<(PathBuf, PathBuf)>,
}

impl Address {
    /// Read a URL without its query, and the options from the query.
    pub(crate) fn parse(address: &str, options: &[(String, String)]) -> Result<Self, Error> {
        let (scheme, rest) = address.split_once(':').unwrap_or((address, ""));
        let is_encrypted = scheme == "zookeepers";
        if is_encrypted && !cfg!(feature = "tls") {
            return Err(unreadable(scheme, "this build lacks the feature tls"));
        }
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(read_login(scheme, login)?), place),
            None => (None, rest),
        };
        let (hosts, base) = match place.find('/') {
            Some(at) => (&place[..at], read_base(scheme, &place[at..])?),
            None => (place, BASE.to_owned()),
        };
        let servers = hosts.split(',').map(|host| server(scheme, host));
        let servers = servers.collect::<Result<Vec<_>, Error>>()?;
        let (mut tls, mut tick) = (Tls::default(), None);
        let (mut cert, mut key) = (None, None);
        let mut timeouts = match servers.len() {
            1 => Timeouts::default(),
            // There are others to ask.
            _ => Timeouts { connect: EACH, response: EACH },
        };
        for (option, value) in options {
            match &**option {
                "tick" => {
                    let bounds = Duration::from_millis(1)..=Duration::from_secs(60);
                    tick = Some(span("tick", value)?);
                    if !tick.is_some_and(|tick| bounds.contains(&tick)) {
                        let message = format!("tick={value} in the URL is no tickTime of a server");
                        return Err(Error::invalid(message));
                    }
                }
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
        let shown = format!("{scheme}://{place}");
        let tls = is_encrypted.then_some(tls);
        Ok(Self { servers, login, tls, base, shown, timeouts, tick })
    }
}

fn read_login(scheme: &str, login: &str) -> Result<(String, String), Error> {
    let missing = || unreadable(scheme, "a user needs a password: user:password@host");
    let (name, password) = login.split_once(':').ok_or_else(missing)?;
    let decode = |part: &str| {
        let text = percent_decode_str(part).decode_utf8();
        text.map(String::from).map_err(|_| unreadable(scheme, "user or password is no UTF-8"))
    };
    let name = decode(name)?;
    if name.contains(':') {
        return Err(unreadable(scheme, "the name of a user has no colon"));
    }
    Ok((name, decode(password)?))
}

fn read_base(scheme: &str, path: &str) -> Result<String, Error> {
    let path = path.trim_end_matches('/');
    if path.is_empty() {
        return Ok(BASE.to_owned());
    }
    let is_node = |node: &str| {
        let is_odd = |c: char| c.is_control() || c == '\u{fffd}' || c.is_whitespace();
        !node.is_empty() && node != "." && node != ".." && !node.contains(is_odd)
    };
    let is_servers_own = path == "/zookeeper" || path.starts_with("/zookeeper/");
    match path[1..].split('/').all(is_node) && !is_servers_own {
        true => Ok(path.to_owned()),
        false => Err(unreadable(scheme, "what follows the hosts is no path of a node")),
    }
}

fn server(scheme: &str, host: &str) -> Result<(String, u16), Error> {
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
    let known = "ttl, delay, wait, max_hold, label, tick, connect_timeout, response_timeout";
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
        let address = parse("zookeeper://ann:p%40s%2Cs@a,b:1,[::1]:2/x/y/?tick=3s").unwrap();
        let servers = [("a".to_owned(), 2181), ("b".to_owned(), 1), ("::1".to_owned(), 2)];
        assert_eq!(address.servers, servers);
        assert_eq!(address.login, Some(("ann".to_owned(), "p@s,s".to_owned())));
        assert_eq!((&*address.base, address.tick), ("/x/y", Some(Duration::from_secs(3))));
        assert_eq!(address.shown, "zookeeper://a,b:1,[::1]:2/x/y/");
        assert!(address.tls.is_none());
        assert_eq!(address.timeouts, Timeouts { connect: EACH, response: EACH });
        let address = parse("zookeeper://a").unwrap();
        assert_eq!((address.timeouts, &*address.base), (Timeouts::default(), BASE));
        assert_eq!(parse("zookeeper://a/").unwrap().base, BASE);
        let address = parse("zookeepers://a/?ca=/ca&cert=/c&key=/k").unwrap();
        let tls = address.tls.unwrap();
        assert_eq!((tls.ca, tls.identity), (Some("/ca".into()), Some(("/c".into(), "/k".into()))));
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        for (url, word) in [
            ("zookeeper://", "host"),
            ("zookeeper://a,,b", "host"),
            ("zookeeper://a:x", "a:x"),
            ("zookeeper://a/b//c", "path"),
            ("zookeeper://a/zookeeper/x", "path"),
            ("zookeeper://a/../x", "path"),
            ("zookeeper://ann@a", "password"),
            ("zookeeper://a?prefix=a", "prefix"),
            ("zookeeper://a?ca=/x", "ca"),
            ("zookeepers://a?cert=/x", "key"),
            ("zookeeper://a?tick=soon", "tick"),
            ("zookeeper://a?tick=0s", "tick"),
            ("zookeeper://a?response_timeout=0s", "response_timeout"),
        ] {
            let error = parse(url).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{url}");
            assert!(error.to_string().contains(word), "{url}: {error}");
        }
    }
}
