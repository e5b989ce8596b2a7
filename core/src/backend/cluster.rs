//! What the URL of a cluster says, whatever kind of cluster it is: its members, who logs in,
//! and the files that encryption needs.

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::net::Timeouts;
use crate::error::Error;

/// How long one of several members is waited for.
const EACH: Duration = Duration::from_secs(2);

/// A cluster, and how this client uses it.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    /// Host and port of each.
    pub(super) members: Vec<(String, u16)>,
    /// User and password.
    pub(super) login: Option<(String, String)>,
    pub(super) tls: Option<Tls>,
    /// What follows the hosts, with a slash before it and none behind it; empty if nothing does.
    pub(super) path: String,
    /// As messages name it: no user, no password.
    pub(super) shown: String,
    /// How long each member is waited for.
    pub(super) timeouts: Timeouts,
}

/// The files that encryption needs.
#[derive(Clone, Debug, Default)]
#[cfg_attr(not(feature = "tls"), allow(dead_code))]
pub(super) struct Tls {
    pub(super) ca: Option<PathBuf>,
    pub(super) identity: Option<(PathBuf, PathBuf)>,
}

/// What the URLs of one kind of cluster have in common.
pub(super) struct Kind {
    /// The scheme that asks for encryption.
    pub(super) encrypted: &'static str,
    /// Where a member listens if the URL does not say.
    pub(super) port: u16,
    /// The option that no other kind has.
    pub(super) own_option: &'static str,
}

impl Cluster {
    /// Read a URL without its query, and the options from the query. The kind's own option is
    /// given to `own`.
    pub(super) fn parse(
        kind: &Kind,
        address: &str,
        options: &[(String, String)],
        mut own: impl FnMut(&str) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let (scheme, rest) = address.split_once(':').unwrap_or((address, ""));
        let is_encrypted = scheme == kind.encrypted;
        if is_encrypted && !cfg!(feature = "tls") {
            return Err(unreadable(scheme, "this build lacks the feature tls"));
        }
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(read_login(scheme, login)?), place),
            None => (None, rest),
        };
        let (hosts, path) = place.split_at(place.find('/').unwrap_or(place.len()));
        let path = path.trim_end_matches('/').to_owned();
        let members = hosts.split(',').map(|host| member(scheme, host, kind.port));
        let members = members.collect::<Result<Vec<_>, Error>>()?;
        let mut timeouts = match members.len() {
            1 => Timeouts::default(),
            // There are others to ask.
            _ => Timeouts { connect: EACH, response: EACH },
        };
        let (mut ca, mut cert, mut key) = (None, None, None);
        for (option, value) in options {
            match &**option {
                option if option == kind.own_option => own(value)?,
                "ca" if is_encrypted => ca = Some(PathBuf::from(value)),
                "cert" if is_encrypted => cert = Some(PathBuf::from(value)),
                "key" if is_encrypted => key = Some(PathBuf::from(value)),
                _ => match timeouts.set(option, value) {
                    Some(set) => set?,
                    None => return Err(unknown(option, kind.own_option, is_encrypted)),
                },
            }
        }
        let identity = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err(Error::invalid("cert and key in the URL belong together")),
        };
        let shown = format!("{scheme}://{hosts}{path}");
        let tls = is_encrypted.then_some(Tls { ca, identity });
        Ok(Self { members, login, tls, path, shown, timeouts })
    }
}

fn read_login(scheme: &str, login: &str) -> Result<(String, String), Error> {
    let missing = || unreadable(scheme, "a user needs a password: user:password@host");
    let (name, password) = login.split_once(':').ok_or_else(missing)?;
    let decode = |part: &str| {
        let text = percent_decode_str(part).decode_utf8();
        text.map(String::from).map_err(|_| unreadable(scheme, "user or password is no UTF-8"))
    };
    Ok((decode(name)?, decode(password)?))
}

fn member(scheme: &str, host: &str, port: u16) -> Result<(String, u16), Error> {
    let expected = |what: String| {
        let example = format!("expected {scheme}://host:port,host:port, but {what}");
        unreadable(scheme, &example)
    };
    // The colons of an IPv6 address are inside brackets.
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => {
            // Not quoted: without an @ behind it, it may be a password.
            let no_port = |_| expected(format!("the port of {name:?} is no number"));
            (name, port.parse().map_err(no_port)?)
        }
        _ => (host, port),
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_host = |name: &str| !name.is_empty() && !name.contains(['#', '[', ' ']);
    match bare.unwrap_or(name) {
        name if is_host(name) => Ok((name.to_owned(), port)),
        name => Err(expected(format!("{name:?} is no host"))),
    }
}

/// It does not quote the URL, which may hold a password.
pub(super) fn unreadable(scheme: &str, why: &str) -> Error {
    Error::invalid(format!("the {scheme}: URL cannot be read: {why}"))
}

fn unknown(option: &str, own: &str, is_encrypted: bool) -> Error {
    let files = if is_encrypted { ", ca, cert, key" } else { "" };
    Error::invalid(format!(
        "unknown option {option:?} in the URL; there are ttl, delay, wait, max_hold, label, {own}, \
         connect_timeout, response_timeout{files}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind as Of;

    const KIND: Kind = Kind { encrypted: "xs", port: 7, own_option: "own" };

    fn parse(url: &str) -> Result<Cluster, Error> {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let options: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Cluster::parse(&KIND, address, &options, |value| match value {
            "good" => Ok(()),
            _ => Err(Error::invalid("own")),
        })
    }

    #[test]
    fn every_part_of_a_url_is_used_and_passwords_are_not_shown() {
        let cluster = parse("x://ann:p%40s%2Cs@a,b:1,[::1]:2/p/q/?own=good").unwrap();
        let members = [("a".to_owned(), 7), ("b".to_owned(), 1), ("::1".to_owned(), 2)];
        assert_eq!(cluster.members, members);
        assert_eq!(cluster.login, Some(("ann".to_owned(), "p@s,s".to_owned())));
        assert_eq!((&*cluster.path, &*cluster.shown), ("/p/q", "x://a,b:1,[::1]:2/p/q"));
        assert!(cluster.tls.is_none());
        assert_eq!(cluster.timeouts, Timeouts { connect: EACH, response: EACH });
        let alone = parse("x://a/").unwrap();
        assert_eq!((alone.timeouts, &*alone.path), (Timeouts::default(), ""));
        let cluster = parse("x://a,b?connect_timeout=7s&response_timeout=300ms").unwrap();
        let (connect, response) = (Duration::from_secs(7), Duration::from_millis(300));
        assert_eq!(cluster.timeouts, Timeouts { connect, response });
        let tls = parse("xs://a/?ca=/ca&cert=/c&key=/k").unwrap().tls.unwrap();
        assert_eq!((tls.ca, tls.identity), (Some("/ca".into()), Some(("/c".into(), "/k".into()))));
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name_and_no_password_is_quoted() {
        for (url, word) in [
            ("x://", "host"),
            ("x://a,,b", "host"),
            ("x://a:one", "\"a\""),
            ("x://ann:secret", "\"ann\""),
            ("x://a b:1", "\"a b\""),
            ("x://ann@a", "password"),
            ("x://a?other=1", "other"),
            ("x://a?own=bad", "own"),
            ("x://a?ca=/x", "ca"),
            ("xs://a?cert=/x", "key"),
            ("x://a?connect_timeout=soon", "connect_timeout"),
            ("x://a?response_timeout=0s", "response_timeout"),
        ] {
            let error = parse(url).unwrap_err();
            assert_eq!(error.kind(), Of::Invalid, "{url}");
            assert!(error.to_string().contains(word), "{url}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
