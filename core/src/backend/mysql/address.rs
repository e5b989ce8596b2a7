//! What a URL and its options say, as this server has them.

use std::path::PathBuf;

use super::table::Table;
use crate::backend::sql::{self, Endpoint, Parts, Place, decode, decode_host};
use crate::error::Error;

const PORT: u16 = 3306;
const TABLE: &str = "leasehold";

/// A database, and how this client uses it.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(super) place: Place,
    pub(super) table: Table,
}

impl Address {
    /// The statements that make its table.
    pub(crate) fn ddl(&self) -> String {
        self.table.named.ddl.clone()
    }

    /// Read a URL without its query, and the options from the query.
    pub(crate) fn parse(address: &str, options: &[(String, String)]) -> Result<Self, Error> {
        let url = Parts::of(address)?;
        let Options { common, socket } = Options::read(options)?;
        let (user, password) = common.login(&url, "mysql://USER@HOST/DATABASE")?;
        let database = decode(url.database)?;
        let name = common.table.as_deref().unwrap_or(TABLE);
        if database.is_empty() && !name.contains('.') {
            let message = "the URL names no database: mysql://USER@HOST/DATABASE, or \
                           ?table=database.name";
            return Err(Error::invalid(message));
        }
        let table = Table::named(name, &database)?;
        let endpoint = endpoint(&url, socket, &common)?;
        let shown = url.shown(url.host, &database, &endpoint);
        let timeouts = common.timeouts;
        Ok(Self { place: Place { endpoint, user, password, database, timeouts, shown }, table })
    }
}

#[derive(Default)]
struct Options {
    common: sql::Options,
    socket: Option<String>,
}

impl Options {
    fn read(options: &[(String, String)]) -> Result<Self, Error> {
        let mut read = Self::default();
        for (name, value) in options {
            // As the command line of MySQL calls them.
            let option = match &**name {
                "ssl-mode" => "sslmode",
                "ssl-ca" => "ca",
                "ssl-cert" => "cert",
                "ssl-key" => "key",
                option => option,
            };
            match option {
                "socket" => read.socket = Some(value.clone()),
                "sslmode" => read.common.encrypts = Some(is_encrypted(value)?),
                _ if read.common.set(option, value)? => {}
                _ => return Err(unknown(name)),
            }
        }
        Ok(read)
    }
}

fn endpoint(
    url: &Parts<'_>,
    socket: Option<String>,
    options: &sql::Options,
) -> Result<Endpoint, Error> {
    let host = decode_host(url.host)?;
    let Some(socket) = socket else { return options.tcp(url.scheme, &host, PORT) };
    options.check_for_a_socket()?;
    if !matches!(&*host, "" | "localhost") {
        return Err(Error::invalid("the URL names a host and a socket; use one"));
    }
    Ok(Endpoint::Unix(PathBuf::from(socket)))
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
        assert_eq!(address.place.password.read().unwrap().as_deref(), Some("p@s/s"));
        assert_eq!((&*address.place.user, &*address.place.database), ("ann", "jobs"));
        assert_eq!(
            (&*address.place.shown, address.table.name()),
            ("mysql://h:7000/jobs", "`a`.`b`")
        );
        assert!(!format!("{address:?}").contains("p@s"));
        let Endpoint::Tcp { host, port, tls } = address.place.endpoint else { panic!("a host") };
        assert_eq!((&*host, port, tls.is_some()), ("h", 7000, cfg!(feature = "tls")));
        let address = parse("mariadb://ann@[::1]/jobs?ssl-mode=DISABLED").unwrap();
        assert!(matches!(
            &address.place.endpoint,
            Endpoint::Tcp { host, port: 3306, tls: None } if host == "::1"
        ));
        let urls =
            ["mysql://ann@localhost/jobs?socket=/run/x", "mysql:///jobs?socket=/run/x&user=ann"];
        for url in urls {
            let Endpoint::Unix(path) = parse(url).unwrap().place.endpoint else {
                panic!("a socket")
            };
            assert_eq!(path, PathBuf::from("/run/x"));
        }
        let address = parse("mysql://ann@h/d?password_file=/run/secret&response_timeout=9s");
        let address = address.unwrap();
        let error = address.place.password.read().unwrap_err().to_string();
        assert!(error.contains("password_file=/run/secret"), "{error}");
        assert_eq!(address.place.timeouts.response, std::time::Duration::from_secs(9));
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

    #[test]
    fn a_password_that_is_not_encoded_is_refused_and_not_shown() {
        for url in [
            "mysql://ann:s3cr/et@h/db",
            "mysql://ann:s3cr/et@h:7000/db",
            "mysql://ann:7/s3cret@h/db",
            "mysql://ann:x@s3cr/et@h/db",
            "mysql://ann:s3cret",
            "mysql://ann:s3cret/db",
        ] {
            let error = parse(url).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{url}");
            assert!(error.to_string().contains("%2F"), "{url}: {error}");
            assert!(!error.to_string().contains("s3cr"), "{url}: {error}");
        }
        assert!(parse("mysql://ann:a@b:c@h/db").is_ok());
    }
}
