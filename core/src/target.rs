//! What a URL names, and how to get there.

#[cfg(feature = "sqlite")]
use std::borrow::Cow;
#[cfg(feature = "sqlite")]
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use crate::backend::{Backend, Memory};
use crate::engine::Engine;
use crate::error::{Error, Kind};
use crate::event::Telling;
use crate::runtime::{Runtime, ThreadRuntime};

/// A backend, and what its client runs on.
pub(crate) struct Target {
    scheme: String,
    /// All of the URL up to the options.
    address: String,
    options: Vec<(String, String)>,
    runtime: Option<Arc<dyn Runtime>>,
}

/// What there is to connect to, as the URL says it.
enum Parsed {
    Memory,
    #[cfg(feature = "sqlite")]
    Sqlite(Option<PathBuf>),
    #[cfg(feature = "redis")]
    Redis(crate::backend::redis::Address),
    #[cfg(feature = "redis")]
    Redlock(crate::backend::redis::Redlock),
    #[cfg(feature = "etcd")]
    Etcd(crate::backend::etcd::Address),
    #[cfg(feature = "postgres")]
    Postgres(Box<crate::backend::postgres::Address>),
    #[cfg(feature = "mysql")]
    Mysql(Box<crate::backend::mysql::Address>),
    #[cfg(feature = "zookeeper")]
    Zookeeper(Box<crate::backend::zookeeper::Address>),
}

impl Target {
    /// Check what can be checked without asking anybody.
    pub(crate) fn new(
        address: &str,
        options: Vec<(String, String)>,
        runtime: Option<Arc<dyn Runtime>>,
    ) -> Result<Self, Error> {
        let Some((scheme, path)) = address.split_once(':') else { return Err(unknown(address)) };
        refuse_login(scheme, path)?;
        let scheme = scheme.to_owned();
        #[cfg(feature = "sqlite")]
        let address = &*absolute(address, path);
        let target = Self { scheme, address: address.to_owned(), options, runtime };
        target.parse()?;
        Ok(target)
    }

    /// As messages name it: what follows may hold a password.
    pub(crate) fn scheme(&self) -> &str {
        &self.scheme
    }

    /// What a client in this process runs on, and its thread if it has one of its own.
    pub(crate) fn runtime(
        &self,
        is_forked: bool,
    ) -> Result<(Arc<dyn Runtime>, Weak<ThreadRuntime>), Error> {
        let is_memory = matches!(self.parse()?, Parsed::Memory);
        if is_forked && (is_memory || self.runtime.is_some()) {
            let message = "this client belongs to the process that made it, and this is a fork of \
                           that; connect again here";
            return Err(Error::new(Kind::Closed, message));
        }
        ground(self.runtime.clone())
    }

    /// Connect.
    pub(crate) async fn open(
        &self,
        runtime: Arc<dyn Runtime>,
        telling: Arc<Telling>,
    ) -> Result<Arc<Engine>, Error> {
        let backend = self.parse()?.open(runtime.clone()).await?;
        Ok(Engine::start(backend, runtime, telling))
    }

    /// The statements that make the table in which the locks are.
    pub(crate) fn ddl(&self) -> Result<String, Error> {
        match self.parse()? {
            #[cfg(feature = "postgres")]
            Parsed::Postgres(address) => Ok(address.ddl()),
            #[cfg(feature = "mysql")]
            Parsed::Mysql(address) => Ok(address.ddl()),
            _ => {
                let message = format!(
                    "{}: has no table that somebody could make; postgres: and mysql: have one",
                    self.scheme
                );
                Err(Error::new(Kind::Unsupported, message))
            }
        }
    }

    fn parse(&self) -> Result<Parsed, Error> {
        let (address, options) = (&*self.address, &*self.options);
        let (scheme, path) = address.split_once(':').ok_or_else(|| unknown(address))?;
        if let Some((option, _)) = options.first()
            && matches!(scheme, "memory" | "sqlite")
        {
            return Err(Error::invalid(format!(
                "unknown option {option:?} in the URL; there are ttl, delay, wait, max_hold, label"
            )));
        }
        match scheme {
            "memory" if !path.is_empty() => Err(Error::invalid(
                "memory: is inside this client and has no name; nothing may follow it but options",
            )),
            "memory" => Ok(Parsed::Memory),
            #[cfg(feature = "sqlite")]
            "sqlite" => Ok(Parsed::Sqlite((!path.is_empty()).then(|| path.into()))),
            #[cfg(feature = "etcd")]
            "etcd" | "etcds" => {
                Ok(Parsed::Etcd(crate::backend::etcd::Address::parse(address, options)?))
            }
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => {
                let parsed = crate::backend::postgres::Address::parse(address, options)?;
                Ok(Parsed::Postgres(Box::new(parsed)))
            }
            #[cfg(feature = "mysql")]
            "mysql" | "mariadb" => {
                let parsed = crate::backend::mysql::Address::parse(address, options)?;
                Ok(Parsed::Mysql(Box::new(parsed)))
            }
            #[cfg(feature = "zookeeper")]
            "zookeeper" | "zookeepers" => {
                let parsed = crate::backend::zookeeper::Address::parse(address, options)?;
                Ok(Parsed::Zookeeper(Box::new(parsed)))
            }
            #[cfg(feature = "redis")]
            "redlock" => Ok(Parsed::Redlock(crate::backend::redis::Redlock::parse(path, options)?)),
            #[cfg(feature = "redis")]
            scheme if crate::backend::redis::Address::SCHEMES.contains(&scheme) => {
                Ok(Parsed::Redis(crate::backend::redis::Address::parse(address, options)?))
            }
            _ => Err(unknown(address)),
        }
    }
}

/// The runtime that was given, or a thread.
pub(crate) fn ground(
    given: Option<Arc<dyn Runtime>>,
) -> Result<(Arc<dyn Runtime>, Weak<ThreadRuntime>), Error> {
    match given {
        Some(runtime) => Ok((runtime, Weak::new())),
        None => {
            let own = ThreadRuntime::start()?;
            let thread = Arc::downgrade(&own);
            Ok((own, thread))
        }
    }
}

impl Parsed {
    #[cfg_attr(
        not(any(
            feature = "sqlite",
            feature = "redis",
            feature = "etcd",
            feature = "postgres",
            feature = "mysql",
            feature = "zookeeper"
        )),
        expect(unused_variables, reason = "memory waits for nothing")
    )]
    async fn open(self, runtime: Arc<dyn Runtime>) -> Result<Arc<dyn Backend>, Error> {
        Ok(match self {
            Parsed::Memory => Arc::new(Memory::new(Arc::new(crate::time::SystemClock)).client()),
            #[cfg(feature = "sqlite")]
            Parsed::Sqlite(path) => {
                use crate::backend::Sqlite;
                let path = path.map_or_else(Sqlite::default_path, Ok)?;
                Arc::new(Sqlite::open(&path, runtime).await?)
            }
            #[cfg(feature = "redis")]
            Parsed::Redis(address) => {
                Arc::new(crate::backend::redis::Redis::at(address, runtime).await?)
            }
            #[cfg(feature = "redis")]
            Parsed::Redlock(nodes) => Arc::new(nodes.connect(runtime).await?),
            #[cfg(feature = "etcd")]
            Parsed::Etcd(address) => {
                Arc::new(crate::backend::etcd::Etcd::at(address, runtime).await?)
            }
            #[cfg(feature = "postgres")]
            Parsed::Postgres(address) => {
                Arc::new(crate::backend::postgres::Postgres::at(*address, runtime).await?)
            }
            #[cfg(feature = "mysql")]
            Parsed::Mysql(address) => {
                Arc::new(crate::backend::mysql::Mysql::at(*address, runtime).await?)
            }
            #[cfg(feature = "zookeeper")]
            Parsed::Zookeeper(address) => {
                Arc::new(crate::backend::zookeeper::Zookeeper::at(*address, runtime).await?)
            }
        })
    }
}

/// The same file, wherever the process is when it connects.
#[cfg(feature = "sqlite")]
fn absolute<'a>(address: &'a str, path: &str) -> Cow<'a, str> {
    let absolute = std::path::absolute(path.strip_prefix("//").unwrap_or(path));
    match absolute.ok().as_deref().and_then(Path::to_str) {
        Some(path) if address.starts_with("sqlite:") => Cow::Owned(format!("sqlite:{path}")),
        _ => Cow::Borrowed(address),
    }
}

/// A file's path is shown in messages. So it must not be what somebody gives who takes the
/// backend for a server.
fn refuse_login(scheme: &str, path: &str) -> Result<(), Error> {
    let (path, is_authority) = path.strip_prefix("//").map_or((path, false), |rest| (rest, true));
    let first = path.split('/').next().unwrap_or(path);
    match first.rsplit_once('@') {
        Some((login, _)) if scheme == "sqlite" && (is_authority || login.contains(':')) => {
            Err(Error::invalid(
                "sqlite: has no users and no passwords, and what stands before an @ in this URL \
                 looks like them; a file with such a name is written sqlite:./NAME",
            ))
        }
        _ => Ok(()),
    }
}

/// Of a URL it names only the scheme: all else may hold a password.
fn unknown(url: &str) -> Error {
    let known = "there are redis://HOST, rediss://HOST, redlock://HOST,HOST,HOST, \
                 etcd://HOST,HOST,HOST, etcds://HOST, postgres://USER@HOST/DATABASE, \
                 mysql://USER@HOST/DATABASE, zookeeper://HOST,HOST,HOST, sqlite:PATH, sqlite: and \
                 memory:";
    let is_letter = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    match url.split_once(':').filter(|(scheme, _)| scheme.chars().all(is_letter)) {
        Some((scheme, _)) => Error::invalid(format!("no backend is called {scheme:?}; {known}")),
        None => Error::invalid(format!("the URL names no backend, it has no scheme; {known}")),
    }
}
