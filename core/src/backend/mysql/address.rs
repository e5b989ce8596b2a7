//! Where the database is and how to log in: what a URL and its options say.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::table::Table;
use crate::backend::net::Timeouts;
use crate::error::Error;

const PORT: u16 = 3306;
const TABLE: &str = "leasehold";

/// A database, and how this client uses it.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(super) endpoint: Endpoint,
    pub(super) user: String,
    pub(super) password: Password,
    pub(super) database: String,
    pub(super) table: Table,
    pub(super) timeouts: Timeouts,
    /// As messages name the database: no user, no password.
    pub(super) shown: String,
}

#[derive(Clone, Debug)]
pub(super) enum Endpoint {
    Tcp { host: String, port: u16, tls: Option<Tls> },
    Unix(PathBuf),
}

/// Where the password is.
#[derive(Clone)]
pub(super) enum Password {
    None,
    Is(String),
    /// In the first line of this file, which is read at every connect.
    In(PathBuf),
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
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
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (place, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, host) = match place.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, place),
        };
        let (mut user, mut password) = read_login(login)?;
        let mut options = Options::read(options)?;
        user = options.user.take().or(user);
        if let Some(file) = options.password_file.take() {
            if !matches!(password, Password::None) {
                return Err(Error::invalid("the URL has a password and a password_file; use one"));
            }
            password = Password::In(file);
        }
        let missing = "the URL names no user: mysql://USER@HOST/DATABASE, or ?user=USER";
        let user = user.filter(|user| !user.is_empty()).ok_or_else(|| Error::invalid(missing))?;
        let database = decode(database)?;
        let name = options.table.as_deref().unwrap_or(TABLE);
        if database.is_empty() && !name.contains('.') {
            let message = "the URL names no database: mysql://USER@HOST/DATABASE, or \
                           ?table=database.name";
            return Err(Error::invalid(message));
        }
        let table = Table::named(name, &database)?;
        let endpoint = endpoint(scheme, host, &options)?;
        let shown = match &endpoint {
            Endpoint::Tcp { .. } => format!("{scheme}://{host}/{database}"),
            Endpoint::Unix(path) => format!("{scheme}:{}/{database}", path.display()),
        };
        Ok(Self { endpoint, user, password, database, table, timeouts: options.timeouts, shown })
    }
}

#[derive(Default)]
struct Options {
    user: Option<String>,
    socket: Option<String>,
    password_file: Option<PathBuf>,
    table: Option<String>,
    /// Whether the connection is to be encrypted.
    encrypts: Option<bool>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    timeouts: Timeouts,
}

impl Options {
    fn read(options: &[(String, String)]) -> Result<Self, Error> {
        let mut read = Self::default();
        for (option, value) in options {
            if let Some(set) = read.timeouts.set(option, value) {
                set?;
                continue;
            }
            let file = || Some(PathBuf::from(value));
            match &**option {
                "user" => read.user = Some(value.clone()),
                "socket" => read.socket = Some(value.clone()),
                "password_file" => read.password_file = file(),
                "table" => read.table = Some(value.clone()),
                "sslmode" | "ssl-mode" => read.encrypts = Some(is_encrypted(value)?),
                "ca" | "ssl-ca" => read.ca = file(),
                "cert" | "ssl-cert" => read.cert = file(),
                "key" | "ssl-key" => read.key = file(),
                _ => return Err(unknown(option)),
            }
        }
        Ok(read)
    }

    /// None: it is not encrypted.
    fn tls(&self) -> Result<Option<Tls>, Error> {
        let identity = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
            (None, None) => None,
            _ => return Err(Error::invalid("cert and key in the URL belong together")),
        };
        if self.encrypts == Some(false) {
            if self.ca.is_some() || identity.is_some() {
                let message = "the URL names certificates, and sslmode=disable encrypts nothing; \
                               leave one of them out";
                return Err(Error::invalid(message));
            }
            return Ok(None);
        }
        if !cfg!(feature = "tls") {
            let message = "this build lacks the feature tls; sslmode=disable connects without \
                           encryption";
            return Err(Error::invalid(message));
        }
        Ok(Some(Tls { ca: self.ca.clone(), identity }))
    }
}

fn read_login(login: Option<&str>) -> Result<(Option<String>, Password), Error> {
    let Some(login) = login else { return Ok((None, Password::None)) };
    match login.split_once(':') {
        Some((user, password)) => Ok((Some(decode(user)?), Password::Is(decode(password)?))),
        None => Ok((Some(decode(login)?), Password::None)),
    }
}

/// It does not quote what it cannot read, which may be a password.
fn decode(part: &str) -> Result<String, Error> {
    let text = percent_decode_str(part).decode_utf8();
    let text = text.map_err(|_| Error::invalid("a part of the URL is not UTF-8"))?;
    match text.contains('\0') {
        true => Err(Error::invalid("a part of the URL holds a NUL byte")),
        false => Ok(text.into_owned()),
    }
}

fn endpoint(scheme: &str, host: &str, options: &Options) -> Result<Endpoint, Error> {
    let host = decode(host)?;
    if host.contains(',') {
        let message = "the URL names several hosts; name the one that is written to";
        return Err(Error::invalid(message));
    }
    if let Some(socket) = &options.socket {
        if options.encrypts == Some(true) || options.ca.is_some() || options.cert.is_some() {
            let message = "a Unix socket is not encrypted; leave sslmode and certificates out";
            return Err(Error::invalid(message));
        }
        if !matches!(&*host, "" | "localhost") {
            return Err(Error::invalid("the URL names a host and a socket; use one"));
        }
        return Ok(Endpoint::Unix(PathBuf::from(socket)));
    }
    // The colons of an IPv6 address are inside brackets.
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, read_port(scheme, port)?),
        _ => (&*host, PORT),
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    if bare.is_empty() || bare.contains(['[', '#', ' ']) {
        let message =
            format!("the {scheme}: URL names no host: {scheme}://USER@HOST:PORT/DATABASE");
        return Err(Error::invalid(message));
    }
    Ok(Endpoint::Tcp { host: bare.to_owned(), port, tls: options.tls()? })
}

fn read_port(scheme: &str, port: &str) -> Result<u16, Error> {
    let message = || format!("{port:?} in the {scheme}: URL is not a port");
    port.parse().map_err(|_| Error::invalid(message()))
}

/// Whether sslmode asks for encryption; what would encrypt perhaps, or to whoever answers,
/// is refused.
fn is_encrypted(mode: &str) -> Result<bool, Error> {
    let cure = "sslmode=verify-full (the default, the same as VERIFY_IDENTITY) encrypts and \
                proves who the server is, with ca=FILE if its authority is a private one; \
                sslmode=disable does neither";
    let why = match &*mode.to_ascii_lowercase().replace('_', "-") {
        "verify-full" | "verify-identity" => return Ok(true),
        "disable" | "disabled" => return Ok(false),
        "preferred" => "goes on without encryption where that fails",
        "required" | "require" | "verify-ca" => "does not prove who the server is",
        _ => "is no mode",
    };
    Err(Error::invalid(format!("sslmode={mode} in the URL {why}; {cure}")))
}

fn unknown(option: &str) -> Error {
    let known = "ttl, delay, wait, max_hold, label, table, user, socket, password_file, sslmode, \
                 ca (or ssl-ca), cert (or ssl-cert), key (or ssl-key), connect_timeout, \
                 response_timeout";
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
        let address = parse("mysql://ann:p%40s%2Fs@h:7000/jobs?table=a.b").unwrap();
        assert!(matches!(&address.password, Password::Is(word) if word == "p@s/s"));
        assert_eq!((&*address.user, &*address.database), ("ann", "jobs"));
        assert_eq!((&*address.shown, address.table.name()), ("mysql://h:7000/jobs", "`a`.`b`"));
        assert!(!format!("{address:?}").contains("p@s"));
        let Endpoint::Tcp { host, port, tls } = address.endpoint else { panic!("a host") };
        assert_eq!((&*host, port, tls.is_some()), ("h", 7000, cfg!(feature = "tls")));
        let address = parse("mariadb://ann@[::1]/jobs?ssl-mode=DISABLED").unwrap();
        assert!(matches!(
            &address.endpoint,
            Endpoint::Tcp { host, port: 3306, tls: None } if host == "::1"
        ));
        let urls =
            ["mysql://ann@localhost/jobs?socket=/run/x", "mysql:///jobs?socket=/run/x&user=ann"];
        for url in urls {
            let Endpoint::Unix(path) = parse(url).unwrap().endpoint else { panic!("a socket") };
            assert_eq!(path, PathBuf::from("/run/x"));
        }
        let address = parse("mysql://ann@h/d?password_file=/run/secret&response_timeout=9s");
        let address = address.unwrap();
        assert!(matches!(address.password, Password::In(file) if file.ends_with("secret")));
        assert_eq!(address.timeouts.response, std::time::Duration::from_secs(9));
        assert!(parse("mysql://ann@h?table=a.b&sslmode=VERIFY_IDENTITY").is_ok());
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        for (url, word) in [
            ("mysql://h/db", "user"),
            ("mysql://ann@h", "database"),
            ("mysql://ann@/db", "host"),
            ("mysql://ann@h:x/db", "port"),
            ("mysql://ann@a,b/db", "several hosts"),
            ("mysql://ann@h/d?socket=/run", "a host and a socket"),
            ("mysql://ann@h/d?sslmode=PREFERRED", "verify-full"),
            ("mysql://ann@h/d?ssl-mode=REQUIRED", "verify-full"),
            ("mysql://ann@h/d?sslmode=verify-ca", "verify-full"),
            ("mysql://ann@h/d?sslmode=disable&ca=/x", "encrypts nothing"),
            ("mysql://ann@h/d?cert=/x", "key"),
            ("mysql://ann@localhost/d?socket=/x&sslmode=verify-full", "Unix socket"),
            ("mysql://ann:x@h/d?password_file=/x", "password_file"),
            ("mysql://ann@h/d?table=a.b.c", "a.b.c"),
            ("mysql://ann@h/d?table=a.", "table"),
            ("mysql://ann@h/d?connect_timeout=5", "connect_timeout"),
            ("mysql://ann@h/d?charset=utf8", "charset"),
        ] {
            let error = parse(url).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{url}");
            assert!(error.to_string().contains(word), "{url}: {error}");
        }
    }
}
