//! Where a database is and how to log in: what a URL and its options say.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use crate::backend::net::Timeouts;
use crate::error::Error;

/// A database, and who we are there.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) endpoint: Endpoint,
    pub(crate) user: String,
    pub(crate) password: Password,
    pub(crate) database: String,
    pub(crate) timeouts: Timeouts,
    /// As messages name the database: no user, no password.
    pub(crate) shown: String,
}

#[derive(Clone, Debug)]
pub(crate) enum Endpoint {
    Tcp { host: String, port: u16, tls: Option<Tls> },
    Unix(PathBuf),
}

/// Where the password is.
#[derive(Clone)]
pub(crate) enum Password {
    None,
    Is(String),
    /// In the first line of this file, which is read at every connect.
    In(PathBuf),
}

/// The files for encryption: the authority of the server, and the client's certificate and key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tls {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

/// A URL without its query, as it is written.
pub(crate) struct Parts<'a> {
    pub(crate) scheme: &'a str,
    login: Option<&'a str>,
    pub(crate) host: &'a str,
    pub(crate) database: &'a str,
}

/// The options that every database has.
#[derive(Default)]
pub(crate) struct Options {
    user: Option<String>,
    password_file: Option<PathBuf>,
    pub(crate) table: Option<String>,
    /// What `sslmode` says of encryption, if it is there.
    pub(crate) encrypts: Option<bool>,
    pub(crate) ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    pub(crate) timeouts: Timeouts,
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

impl Password {
    /// The password as it is now.
    pub(crate) fn read(&self) -> Result<Option<String>, Error> {
        let file = match self {
            Self::None => return Ok(None),
            Self::Is(word) => return Ok(Some(word.clone())),
            Self::In(file) => file,
        };
        let read = std::fs::read_to_string(file).map_err(|e| {
            Error::invalid(format!("password_file={} cannot be read", file.display())).because(e)
        })?;
        Ok(Some(read.lines().next().unwrap_or_default().to_owned()))
    }
}

impl<'a> Parts<'a> {
    /// Errors do not quote the URL: what is not where it belongs may be a password.
    pub(crate) fn of(address: &'a str) -> Result<Self, Error> {
        let (scheme, rest) = address.split_once(':').unwrap_or((address, ""));
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (place, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, host) = match place.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, place),
        };
        if database.contains('@') {
            let message = format!("an @ follows the host in the {scheme}: URL; {ENCODE}");
            return Err(Error::invalid(message));
        }
        if let Some((_, port)) = host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            read_port(scheme, port)?;
        }
        Ok(Self { scheme, login, host, database })
    }

    fn login(&self) -> Result<(Option<String>, Password), Error> {
        let Some(login) = self.login else { return Ok((None, Password::None)) };
        match login.split_once(':') {
            Some((user, password)) => Ok((Some(decode(user)?), Password::Is(decode(password)?))),
            None => Ok((Some(decode(login)?), Password::None)),
        }
    }

    /// As messages name the database.
    pub(crate) fn shown(&self, host: &str, database: &str, endpoint: &Endpoint) -> String {
        match endpoint {
            Endpoint::Tcp { .. } => format!("{}://{host}/{database}", self.scheme),
            Endpoint::Unix(path) => format!("{}:{}/{database}", self.scheme, path.display()),
        }
    }
}

impl Options {
    /// Read an option; answers whether it is one of these.
    pub(crate) fn set(&mut self, option: &str, value: &str) -> Result<bool, Error> {
        if let Some(set) = self.timeouts.set(option, value) {
            return set.map(|()| true);
        }
        let file = || Some(PathBuf::from(value));
        match option {
            "user" => self.user = Some(value.to_owned()),
            "password_file" => self.password_file = file(),
            "table" => self.table = Some(value.to_owned()),
            "ca" => self.ca = file(),
            "cert" => self.cert = file(),
            "key" => self.key = file(),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The user and the password. `cure` is a URL with a user, for the message if there is none.
    pub(crate) fn login(&self, url: &Parts<'_>, cure: &str) -> Result<(String, Password), Error> {
        let (user, mut password) = url.login()?;
        if let Some(file) = &self.password_file {
            if !matches!(password, Password::None) {
                return Err(Error::invalid("the URL has a password and a password_file; use one"));
            }
            password = Password::In(file.clone());
        }
        let user = self.user.clone().or(user).filter(|user| !user.is_empty());
        let missing = || Error::invalid(format!("the URL names no user: {cure}, or ?user=USER"));
        Ok((user.ok_or_else(missing)?, password))
    }

    /// `None`: the connection is not encrypted.
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

    /// A Unix socket takes none of the options about encryption.
    pub(crate) fn check_for_a_socket(&self) -> Result<(), Error> {
        if self.encrypts == Some(true) || self.ca.is_some() || self.cert.is_some() {
            let message = "a Unix socket is not encrypted; leave sslmode and certificates out";
            return Err(Error::invalid(message));
        }
        Ok(())
    }

    /// The endpoint of a URL whose host is not a socket.
    pub(crate) fn tcp(&self, scheme: &str, host: &str, port: u16) -> Result<Endpoint, Error> {
        // The colons of an IPv6 address are inside brackets.
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, read_port(scheme, port)?),
            _ => (host, port),
        };
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        if bare.is_empty() || bare.contains(['[', '#', ' ']) {
            let message =
                format!("the {scheme}: URL names no host: {scheme}://USER@HOST:PORT/DATABASE");
            return Err(Error::invalid(message));
        }
        Ok(Endpoint::Tcp { host: bare.to_owned(), port, tls: self.tls()? })
    }
}

/// The cure if the password has cut the URL in the wrong place.
const ENCODE: &str = "in a user, a password or the name of a database write %2F for /, %3F for ?, \
                      %23 for #, %40 for @ and %3A for :";

/// Decode a part of a URL. Errors do not quote it: it may be a password.
pub(crate) fn decode(part: &str) -> Result<String, Error> {
    let text = percent_decode_str(part).decode_utf8();
    let text = text.map_err(|_| Error::invalid("a part of the URL is not UTF-8"))?;
    match text.contains('\0') {
        true => Err(Error::invalid("a part of the URL holds a NUL byte")),
        false => Ok(text.into_owned()),
    }
}

/// Decode the host of a URL, which is one host or socket.
pub(crate) fn decode_host(host: &str) -> Result<String, Error> {
    let host = decode(host)?;
    if host.contains(',') {
        let message = "the URL names several hosts; name the one that is written to";
        return Err(Error::invalid(message));
    }
    Ok(host)
}

pub(crate) fn read_port(scheme: &str, port: &str) -> Result<u16, Error> {
    port.parse().map_err(|_| {
        Error::invalid(format!(
            "what follows the colon of the host in the {scheme}: URL is not a port; {ENCODE}"
        ))
    })
}
