//! What a ZooKeeper is started with.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::ZooKeeper;
use crate::servers::tls;

/// In the directory of an ensemble: what is signed by its authority, and by another one.
pub(super) const TLS: &str = "tls";
pub(super) const STRANGER: &str = "stranger";
/// In each of them: key and certificate of the members.
pub(super) const IDENTITY: &str = "identity.pem";

/// In the directory of a member, which it is started in.
pub(super) const CONFIG: &str = "zoo.cfg";
pub(super) const DATA: &str = "data";

const JAR: &str = "/usr/share/java/zookeeper.jar";
/// Prints what it has to say on the standard error.
const LOGGER: &str = "/usr/share/java/slf4j-simple.jar";
/// What the jar of Debian's package forgets to name, and TLS needs.
const CODEC: &str = "/usr/share/java/netty-codec.jar";

/// A server or an ensemble to be started.
#[derive(Clone, Debug)]
#[must_use]
pub struct ZooKeeperSettings {
    pub(super) members: usize,
    pub(super) tls: bool,
    tick: Duration,
    sync_limit: u32,
    lines: Vec<String>,
    flags: Vec<String>,
}

impl Default for ZooKeeperSettings {
    fn default() -> Self {
        Self {
            members: 1,
            tls: false,
            tick: Duration::from_millis(200),
            sync_limit: 15,
            lines: Vec::new(),
            flags: Vec::new(),
        }
    }
}

impl ZooKeeperSettings {
    /// One is what starts otherwise.
    pub fn members(mut self, members: usize) -> Self {
        self.members = members;
        self
    }

    /// Its unit of time; 200 ms otherwise, and 2 s where nobody has set it. Sessions end at
    /// whole ticks, and last two at least.
    pub fn tick(mut self, tick: Duration) -> Self {
        self.tick = tick;
        self
    }

    /// After how many ticks of silence a member believes its leader, and the leader a
    /// member, to be gone; 15 otherwise.
    pub fn sync_limit(mut self, ticks: u32) -> Self {
        self.sync_limit = ticks;
        self
    }

    /// Listen for TLS as well, with a certificate for `localhost` and `127.0.0.1`.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Any line of `zoo.cfg`, as `minSessionTimeout=1000`.
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// Any flag of Java, as `-Dreadonlymode.enabled=true`.
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Start it and wait until all of its members serve.
    pub fn start(self) -> ZooKeeper {
        ZooKeeper::start_with(self)
    }

    /// What all members have in their configuration.
    pub(super) fn common(&self) -> Vec<String> {
        let mut lines = vec![
            format!("tickTime={}", self.tick.as_millis()),
            format!("syncLimit={}", self.sync_limit),
            "initLimit=50".to_owned(),
            "clientPortAddress=127.0.0.1".to_owned(),
            "secureClientPortAddress=127.0.0.1".to_owned(),
            "maxClientCnxns=0".to_owned(),
            // Otherwise it is 20 ticks, and with these no ttl of a test would fit.
            "maxSessionTimeout=100000".to_owned(),
        ];
        if self.tls {
            let at = |file: &str| format!("../{TLS}/{file}");
            lines.extend([
                "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory".to_owned(),
                format!("ssl.keyStore.location={}", at(IDENTITY)),
                "ssl.keyStore.type=PEM".to_owned(),
                format!("ssl.trustStore.location={}", at(tls::AUTHORITY)),
                "ssl.trustStore.type=PEM".to_owned(),
                "ssl.clientAuth=none".to_owned(),
            ]);
        } else {
            lines.retain(|line| !line.starts_with("secure"));
        }
        // Last, so that the test has the last word.
        lines.extend(self.lines.iter().cloned());
        lines
    }

    pub(super) fn java(&self) -> Command {
        let mut command = super::java(Path::new(JAR));
        command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx96m", "-Xshare:auto"]);
        for property in [
            "zookeeper.admin.enableServer=false",
            // Every write is with the kernel before it is answered, and outlives the process only.
            "zookeeper.forceSync=no",
            "zookeeper.4lw.commands.whitelist=*",
            // Nodes of locks that nobody uses are not deleted while a test counts on them.
            "znode.container.checkIntervalMs=3600000",
            "org.slf4j.simpleLogger.defaultLogLevel=warn",
        ] {
            command.arg(format!("-D{property}"));
        }
        command.args(&self.flags).args(["-cp", &format!("{JAR}:{LOGGER}:{CODEC}")]);
        command.args(["org.apache.zookeeper.server.quorum.QuorumPeerMain", CONFIG]);
        command
    }
}
