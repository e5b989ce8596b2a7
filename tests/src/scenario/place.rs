//! The servers that the scenarios are played on, and the ways to them.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tempfile::TempDir;

use crate::proxy::Proxy;
use crate::servers::{
    Etcd, EtcdSettings, Mysql, MysqlSettings, Postgres, PostgresSettings, Server, ZooKeeper,
};

/// Where the locks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A file.
    Sqlite,
    /// One Redis server.
    Redis,
    /// Three Redis servers.
    Redlock,
    /// One member of etcd.
    Etcd,
    /// One PostgreSQL.
    Postgres,
    /// One MariaDB.
    Mysql,
    /// One server of ZooKeeper.
    Zookeeper,
}

impl Backend {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Sqlite,
        Self::Redis,
        Self::Redlock,
        Self::Etcd,
        Self::Postgres,
        Self::Mysql,
        Self::Zookeeper,
    ];

    /// As scenarios call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Redis => "redis",
            Self::Redlock => "redlock",
            Self::Etcd => "etcd",
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Zookeeper => "zookeeper",
        }
    }
}

/// Servers that run; shared by all who play at a time.
pub(super) struct Servers {
    redis: Server,
    redlock: [Server; 3],
    etcd: Etcd,
    postgres: Postgres,
    mysql: Mysql,
    zookeeper: ZooKeeper,
}

impl Servers {
    /// Those that run, or new ones. They end with the last who plays.
    pub(super) fn get() -> Arc<Self> {
        static RUNNING: Mutex<Weak<Servers>> = Mutex::new(Weak::new());
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(servers) = running.upgrade() {
            return servers;
        }
        let servers = Arc::new(Self {
            redis: Server::start(),
            redlock: [(); 3].map(|()| Server::start()),
            // Its shortest ttl is a second then.
            etcd: EtcdSettings::default().fast_elections().start(),
            postgres: PostgresSettings::default().start(),
            mysql: MysqlSettings::default().start(),
            zookeeper: ZooKeeper::start(),
        });
        *running = Arc::downgrade(&servers);
        servers
    }
}

/// Where one scenario is played.
pub(super) struct Place {
    backend: Backend,
    servers: Arc<Servers>,
    /// For the file, which is its own: a program that is stopped may keep others out.
    dir: Option<TempDir>,
    /// When the network is cut there: the nodes of a quorum know each other's clients
    /// by the nodes' names, which are other ones behind a proxy.
    nodes: Option<([Server; 3], [Proxy; 3])>,
    /// Whether every way is one that can be cut.
    cuts: bool,
}

/// One program's way to the server.
pub(super) struct Way {
    pub(super) url: String,
    proxy: Option<Proxy>,
}

impl Place {
    pub(super) fn new(backend: Backend, servers: Arc<Servers>, cuts: bool) -> Self {
        let dir = (backend == Backend::Sqlite)
            .then(|| tempfile::Builder::new().prefix("scenario").tempdir().expect("a directory"));
        let nodes = (backend == Backend::Redlock && cuts).then(|| {
            let servers = [(); 3].map(|()| Server::start());
            let proxies = servers.each_ref().map(|server| Proxy::before(server.port()));
            (servers, proxies)
        });
        Self { backend, servers, dir, nodes, cuts }
    }

    pub(super) fn way(&self) -> Way {
        let (redis, etcd) = (self.servers.redis.port(), self.servers.etcd.port(0));
        let (postgres, mysql) = (&self.servers.postgres, &self.servers.mysql);
        let zookeeper = self.servers.zookeeper.port(0);
        let proxy = match self.backend {
            _ if !self.cuts => None,
            Backend::Redis => Some(Proxy::before(redis)),
            Backend::Etcd => Some(Proxy::of_bytes(etcd)),
            Backend::Postgres => Some(Proxy::of_bytes(postgres.port())),
            Backend::Mysql => Some(Proxy::of_bytes(mysql.port())),
            Backend::Zookeeper => Some(Proxy::of_bytes(zookeeper)),
            Backend::Sqlite | Backend::Redlock => None,
        };
        let port = |direct: u16| proxy.as_ref().map_or(direct, Proxy::port);
        let through = |url: String, direct: u16| {
            url.replace(&format!(":{direct}/"), &format!(":{}/", port(direct)))
        };
        let url = match self.backend {
            Backend::Sqlite => {
                let dir = self.dir.as_ref().expect("it was made").path();
                format!("sqlite:{}", dir.join("locks.db").display())
            }
            Backend::Redis => format!("redis://127.0.0.1:{}", port(redis)),
            Backend::Etcd => format!("etcd://127.0.0.1:{}", port(etcd)),
            Backend::Zookeeper => format!("zookeeper://127.0.0.1:{}", port(zookeeper)),
            Backend::Postgres => through(postgres.url(), postgres.port()),
            Backend::Mysql => through(mysql.url(), mysql.port()),
            Backend::Redlock => {
                let [a, b, c] = match &self.nodes {
                    Some((_, proxies)) => proxies.each_ref().map(Proxy::port),
                    None => self.servers.redlock.each_ref().map(Server::port),
                };
                format!("redlock://127.0.0.1:{a},127.0.0.1:{b},127.0.0.1:{c}")
            }
        };
        Way { url, proxy }
    }

    /// Have the servers lose who holds a lock, and tell nobody.
    pub(super) fn forget(&self, name: &str) -> Result<(), String> {
        let servers: &[Server] = match (self.backend, &self.nodes) {
            (Backend::Sqlite, _) => {
                let dir = self.dir.as_ref().expect("it was made").path();
                let delete = || {
                    let db = rusqlite::Connection::open(dir.join("locks.db"))?;
                    db.busy_timeout(crate::patience::LIMIT)?;
                    db.execute("UPDATE locks_4 SET owner = NULL WHERE name = ?1", [name])
                };
                delete().map_err(|e| e.to_string())?;
                return Ok(());
            }
            (Backend::Etcd, _) => {
                let line = format!("leasehold/{name}/#");
                return self.servers.etcd.try_ctl(&["del", "--prefix", &line]).map(drop);
            }
            (Backend::Zookeeper, _) => {
                let mut client = self.servers.zookeeper.client();
                let line = client.below(&format!("/leasehold/{name}"));
                let forget = |path: String| client.delete(&path).map_err(|e| e.to_string());
                return line.map_err(|e| e.to_string())?.into_iter().try_for_each(forget);
            }
            (Backend::Postgres, _) => {
                self.servers.postgres.sql(&forgotten(name));
                return Ok(());
            }
            (Backend::Mysql, _) => {
                self.servers.mysql.sql(&forgotten(name));
                return Ok(());
            }
            (Backend::Redis, _) => std::slice::from_ref(&self.servers.redis),
            (Backend::Redlock, Some((nodes, _))) => nodes,
            (Backend::Redlock, None) => &self.servers.redlock,
        };
        for server in servers {
            server.command(&["DEL", &format!("leasehold:{name}")]);
        }
        Ok(())
    }

    /// Cut a way, or mend it. Those to a quorum are one, and cut for all.
    pub(super) fn set_cut(&self, way: &Way, is_cut: bool) {
        let nodes = self.nodes.iter().flat_map(|(_, proxies)| proxies);
        for proxy in nodes.chain(&way.proxy) {
            proxy.refuse(is_cut);
            if is_cut {
                proxy.cut();
            }
        }
    }
}

/// What has a row of a database forget its holder. Names of scenarios need no quotes.
fn forgotten(name: &str) -> String {
    format!(
        "UPDATE leasehold SET version = version + 1, owner = NULL, client = NULL, label = NULL, \
         since = NULL, expires = NULL WHERE name = '{name}'"
    )
}
