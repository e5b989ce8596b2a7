//! What a URL and its options say, as this server has them.

use std::path::PathBuf;

use super::table::Table;
use crate::backend::sql::{self, Endpoint, Parts, Place, decode, decode_host, read_port};
use crate::error::Error;

const PORT: u16 = 5432;
const TABLE: &str = "public.leasehold";

/// The options of the URL of `listen`.
const CONNECTING: [&str; 10] = [
    "user",
    "host",
    "password_file",
    "sslmode",
    "ca",
    "sslrootcert",
    "cert",
    "sslcert",
    "key",
    "sslkey",
];

/// A database, and how this client uses it.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(super) place: Place,
    /// How the sessions are called on the server.
    pub(super) application_name: String,
    pub(super) table: Table,
    pub(super) ear: Ear,
}

/// Where notifications are heard.
#[derive(Clone, Debug)]
pub(super) enum Ear {
    /// Nowhere.
    Off,
    /// Where locks are asked for.
    Here,
    /// Past a pooler, which does not deliver them.
    At(Box<Address>),
}

impl Address {
    /// The statements that make its table.
    pub(crate) fn ddl(&self) -> String {
        self.table.named.ddl.clone()
    }

    /// Read a URL without its query, and the options from the query.
    pub(crate) fn parse(address: &str, options: &[(String, String)]) -> Result<Self, Error> {
        let url = Parts::of(address)?;
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
        let Options { application_name, ear, .. } = options;
        let mut address = Self { place, application_name, table, ear: Ear::Here };
        address.ear = match &*ear {
            "on" => Ear::Here,
            "off" => Ear::Off,
            url => Ear::At(Box::new(address.heard_at(url)?)),
        };
        Ok(address)
    }

    /// The same database by another way, which has a login and encryption of its own.
    fn heard_at(&self, url: &str) -> Result<Self, Error> {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        if !["postgres:", "postgresql:"].iter().any(|scheme| address.starts_with(scheme)) {
            // It is not quoted: it may hold a password.
            let message = "listen in the URL is on, off, or the postgres: URL of the server \
                           itself, with % encoding: listen=postgres://USER@HOST/DATABASE";
            return Err(Error::invalid(message));
        }
        let options: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        if let Some((option, _)) = options.iter().find(|(o, _)| !CONNECTING.contains(&&**o)) {
            let message = format!(
                "the option {option:?} in the URL of listen belongs to the first URL; that of \
                 listen says how to connect: {}",
                CONNECTING.join(", ")
            );
            return Err(Error::invalid(message));
        }
        let mut there = Self::parse(address, &options)?;
        there.place.timeouts = self.place.timeouts;
        there.application_name.clone_from(&self.application_name);
        there.table = self.table.clone();
        Ok(there)
    }
}

struct Options {
    common: sql::Options,
    host: Option<String>,
    application_name: String,
    ear: String,
}

impl Options {
    fn read(options: &[(String, String)]) -> Result<Self, Error> {
        let (common, application_name) = (sql::Options::default(), "leasehold".to_owned());
        let mut read = Self { common, host: None, application_name, ear: "on".to_owned() };
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
                "listen" => read.ear.clone_from(value),
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
        assert_eq!(address.place.shown, "postgres://h:7000/jobs");
        assert!(matches!(address.ear, Ear::Off));
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
    fn the_server_is_heard_past_a_pooler_by_a_url_of_its_own() {
        let there = "postgres%3A%2F%2Fbob%3Asecret%40db%3A5433%2Fjobs%3Fsslmode%3Ddisable";
        let url = "postgres://ann@pool:6432/jobs?table=a.b&response_timeout=9s";
        let address = parse(&format!("{url}&listen={there}")).unwrap();
        assert!(!format!("{address:?}").contains("secret"));
        let Ear::At(there) = address.ear else { panic!("elsewhere") };
        assert_eq!((&*there.place.user, &*there.place.shown), ("bob", "postgres://db:5433/jobs"));
        assert_eq!(there.table.name(), address.table.name());
        assert_eq!(there.place.timeouts.response, std::time::Duration::from_secs(9));
        assert!(matches!(there.place.endpoint, Endpoint::Tcp { port: 5433, tls: None, .. }));
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
            ("postgres://ann@h?listen=maybe", "on, off, or"),
            ("postgres://ann@h?listen=mysql://ann@h", "on, off, or"),
            ("postgres://ann@h?listen=postgres://h", "user"),
            ("postgres://ann@h?listen=postgres://ann@h?table=x", "table"),
            ("postgres://ann@h?listen=postgres://ann@h?listen=off", "listen"),
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

    #[test]
    fn a_password_that_is_not_encoded_is_refused_and_not_shown() {
        for url in [
            "postgres://ann:s3cr/et@h/db",
            "postgres://ann:s3cr/et@h:7000/db",
            "postgres://ann:7/s3cret@h/db",
            "postgres://ann:x@s3cr/et@h/db",
            "postgres://ann:s3cret",
            "postgres://ann:s3cret/db",
        ] {
            let error = parse(url).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{url}");
            assert!(error.to_string().contains("%2F"), "{url}: {error}");
            assert!(!error.to_string().contains("s3cr"), "{url}: {error}");
        }
        assert!(parse("postgres://ann:a@b:c@h/db").is_ok());
    }
}
