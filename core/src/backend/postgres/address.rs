//! What a URL and its options say, as this server has them.

use std::path::PathBuf;

use super::table::Table;
use crate::backend::sql::{self, Endpoint, Parts, Place, decode, decode_host, read_port};
use crate::error::Error;

const PORT: u16 = 5432;
const TABLE: &str = "public.leasehold";

/// A database, and how this client uses it.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(super) place: Place,
    /// How the sessions are called on the server.
    pub(super) application_name: String,
    pub(super) table: Table,
    /// Whether it may be woken by notifications.
    pub(super) listens: bool,
}

impl Address {
    /// The statements that make its table.
    pub(crate) fn ddl(&self) -> String {
        self.table.named.ddl.clone()
    }

    /// Read a URL without its query, and the options from the query.
    pub(crate) fn parse(address: &str, options: &[(String, String)]) -> Result<Self, Error> {
        let url = Parts::of(address);
        let options = Options::read(options)?;
        let (user, password) = options.common.login(&url, "postgres://USER@HOST/DATABASE")?;
        let database = match decode(url.database)? {
            none if none.is_empty() => user.clone(),
            database => database,
        };
        let host = match (options.host.as_deref(), url.host) {
            (Some(host), "") | (None, host) => host,
            (Some(_), _) => return Err(Error::invalid("the URL names two hosts; use one")),
        };
        let endpoint = endpoint(url.scheme, host, &options.common)?;
        let shown = url.shown(host, &database, &endpoint);
        let table = Table::named(options.common.table.as_deref().unwrap_or(TABLE))?;
        let timeouts = options.common.timeouts;
        let place = Place { endpoint, user, password, database, timeouts, shown };
        let Options { application_name, listens, .. } = options;
        Ok(Self { place, application_name, table, listens })
    }
}

struct Options {
    common: sql::Options,
    host: Option<String>,
    application_name: String,
    listens: bool,
}

impl Options {
    fn read(options: &[(String, String)]) -> Result<Self, Error> {
        let (common, application_name) = (sql::Options::default(), "leasehold".to_owned());
        let mut read = Self { common, host: None, application_name, listens: true };
        for (name, value) in options {
            // As libpq calls them.
            let option = match &**name {
                "sslrootcert" => "ca",
                "sslcert" => "cert",
                "sslkey" => "key",
                option => option,
            };
            match option {
                "host" => read.host = Some(value.clone()),
                "application_name" => read.application_name.clone_from(value),
                "listen" => read.listens = on_or_off(value)?,
                "ca" if value == "system" && name == "sslrootcert" => read.common.ca = None,
                "sslmode" => read.common.encrypts = Some(is_encrypted(value)?),
                _ if read.common.set(option, value)? => {}
                _ => return Err(unknown(name)),
            }
        }
        Ok(read)
    }
}

fn endpoint(scheme: &str, host: &str, options: &sql::Options) -> Result<Endpoint, Error> {
    let host = decode_host(host)?;
    if !host.starts_with('/') {
        return options.tcp(scheme, &host, PORT);
    }
    options.check_for_a_socket()?;
    let (dir, port) = match host.rsplit_once(':') {
        Some((dir, port)) => (dir, read_port(scheme, port)?),
        None => (&*host, PORT),
    };
    Ok(Endpoint::Unix(PathBuf::from(dir).join(format!(".s.PGSQL.{port}"))))
}

/// Whether sslmode asks for encryption; what would encrypt perhaps, or to whoever answers,
/// is refused.
fn is_encrypted(mode: &str) -> Result<bool, Error> {
    let cure = "sslmode=verify-full (the default) encrypts and proves who the server is, with \
                sslrootcert=FILE if its authority is a private one; sslmode=disable does neither";
    let why = match mode {
        "verify-full" => return Ok(true),
        "disable" => return Ok(false),
        "allow" | "prefer" => "goes on without encryption where that fails",
        "require" | "verify-ca" => "does not prove who the server is",
        _ => "is no mode",
    };
    Err(Error::invalid(format!("sslmode={mode} in the URL {why}; {cure}")))
}

fn on_or_off(value: &str) -> Result<bool, Error> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(Error::invalid(format!("listen={value} in the URL is neither on nor off"))),
    }
}

fn unknown(option: &str) -> Error {
    let known = "ttl, delay, wait, max_hold, label, table, listen, user, host, password_file, \
                 application_name, sslmode, sslrootcert (or ca), sslcert (or cert), sslkey (or \
                 key), connect_timeout, response_timeout";
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
        let address = parse("postgres://ann:p%40s%2Fs@h:7000/jobs?table=a.b&listen=off").unwrap();
        assert_eq!(address.place.password.read().unwrap().as_deref(), Some("p@s/s"));
        assert_eq!((&*address.place.user, &*address.place.database), ("ann", "jobs"));
        assert_eq!((&*address.place.shown, address.listens), ("postgres://h:7000/jobs", false));
        assert!(!format!("{address:?}").contains("p@s"));
        let Endpoint::Tcp { host, port, tls } = address.place.endpoint else { panic!("a host") };
        assert_eq!((&*host, port, tls.is_some()), ("h", 7000, cfg!(feature = "tls")));
        let address = parse("postgresql://ann@[::1]?sslmode=disable&application_name=x").unwrap();
        assert!(matches!(
            &address.place.endpoint,
            Endpoint::Tcp { host, port: 5432, tls: None } if host == "::1"
        ));
        assert_eq!((&*address.place.database, &*address.application_name), ("ann", "x"));
        for url in ["postgres://ann@%2Frun%2Fpg/jobs", "postgres:///jobs?host=/run/pg&user=ann"] {
            let Endpoint::Unix(path) = parse(url).unwrap().place.endpoint else {
                panic!("a socket")
            };
            assert_eq!(path, PathBuf::from("/run/pg/.s.PGSQL.5432"));
        }
        let address = parse("postgres://ann@h?password_file=/run/secret&response_timeout=9s");
        let address = address.unwrap();
        let error = address.place.password.read().unwrap_err().to_string();
        assert!(error.contains("password_file=/run/secret"), "{error}");
        assert_eq!(address.place.timeouts.response, std::time::Duration::from_secs(9));
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        for (url, word) in [
            ("postgres://h/db", "user"),
            ("postgres://ann@/db", "host"),
            ("postgres://ann@h:x/db", "port"),
            ("postgres://ann@a,b/db", "several hosts"),
            ("postgres://ann@h?host=/run", "two hosts"),
            ("postgres://ann@h?sslmode=prefer", "verify-full"),
            ("postgres://ann@h?sslmode=require", "verify-full"),
            ("postgres://ann@h?sslmode=verify-ca", "verify-full"),
            ("postgres://ann@h?sslmode=disable&ca=/x", "encrypts nothing"),
            ("postgres://ann@h?sslcert=/x", "key"),
            ("postgres://ann@%2Frun?sslmode=verify-full", "Unix socket"),
            ("postgres://ann:x@h?password_file=/x", "password_file"),
            ("postgres://ann@h?listen=maybe", "neither"),
            ("postgres://ann@h?table=a.b.c", "a.b.c"),
            ("postgres://ann@h?table=a.", "table"),
            ("postgres://ann@h?connect_timeout=5", "connect_timeout"),
            ("postgres://ann@h?target_session_attrs=any", "target_session_attrs"),
        ] {
            let error = parse(url).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{url}");
            assert!(error.to_string().contains(word), "{url}: {error}");
        }
    }
}
