//! A cluster of etcd.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

mod ctl;
mod member;
mod settings;

use member::Member;
use settings::{DATA, STRANGER, TLS};
pub use settings::{EtcdSettings, EtcdVersion};

use super::{Failure, PORTS_TRIED, free_port, tls};
use crate::patience::{LIMIT, until};

/// Members, killed when the value is dropped.
pub struct Etcd {
    settings: EtcdSettings,
    members: Vec<Member>,
    // Last, because fields are dropped in order and the processes are in it.
    dir: TempDir,
}

/// What a client of [`EtcdSettings::tls`] needs.
#[derive(Clone, Debug)]
pub struct ClientFiles {
    /// The certificate of the authority that signed the server's and the client's.
    pub ca: PathBuf,
    /// The certificate of a client whose name is `client`.
    pub cert: PathBuf,
    /// The client's key.
    pub key: PathBuf,
}

impl Etcd {
    /// One member, with no [`EtcdSettings`] but the default.
    pub fn start() -> Self {
        EtcdSettings::default().start()
    }

    pub(super) fn start_with(settings: EtcdSettings) -> Self {
        let dir = tempfile::Builder::new().prefix("rig").tempdir().expect("a temporary directory");
        if settings.tls {
            certified(&dir.path().join(TLS));
        }
        let mut cluster = Self { settings, members: Vec::new(), dir };
        for _ in 0..PORTS_TRIED {
            // They have to know of each other, so all of them begin anew.
            cluster.members.clear();
            let members = 0..cluster.settings.members;
            cluster.members = members.map(|index| new_member(cluster.dir.path(), index)).collect();
            match cluster.launch() {
                Ok(()) => {
                    cluster.add_users();
                    return cluster;
                }
                Err(Failure::PortTaken) => {}
                Err(Failure::Other(why)) => panic!("{:?}: {why}", cluster.settings),
            }
        }
        panic!("{PORTS_TRIED} times in turn a port was taken by others");
    }

    /// Where clients connect, as `127.0.0.1:20000,127.0.0.1:20001`.
    pub fn endpoints(&self) -> String {
        let all: Vec<String> = (0..self.members.len()).map(|index| self.endpoint(index)).collect();
        all.join(",")
    }

    /// Where clients of one member connect.
    pub fn endpoint(&self, index: usize) -> String {
        format!("127.0.0.1:{}", self.port(index))
    }

    /// Where clients of one member connect.
    pub fn port(&self, index: usize) -> u16 {
        self.members[index].port
    }

    /// Where clients connect, without a password and certificates.
    pub fn url(&self) -> String {
        let scheme = if self.settings.tls { "etcds" } else { "etcd" };
        format!("{scheme}://{}", self.endpoints())
    }

    /// What clients show and check.
    pub fn client_files(&self) -> ClientFiles {
        assert!(self.settings.tls, "it was started without .tls()");
        client_files(&self.dir.path().join(TLS))
    }

    /// The same by another authority, which this cluster and its clients do not trust.
    pub fn strangers_files(&self) -> ClientFiles {
        certified(&self.dir.path().join(STRANGER))
    }

    /// Which member leads now. Waits until there is one, which needs a majority.
    pub fn leader(&self) -> usize {
        let leader = until(LIMIT, || self.members.iter().position(Member::leads));
        leader.unwrap_or_else(|| panic!("nobody leads:\n{}", self.logs()))
    }

    /// The process id of a member.
    pub fn pid(&self, index: usize) -> u32 {
        self.members[index].pid()
    }

    /// End a member by SIGKILL; what waits in its sockets is not done.
    pub fn kill(&self, index: usize) {
        self.members[index].kill();
    }

    /// Start a member again with what it stored, after killing it if it still runs,
    /// and wait until it agrees with a majority.
    pub fn restart(&self, index: usize) {
        self.revive(index);
        self.await_health(index);
    }

    /// Start the only member again without what it stored: another cluster.
    pub fn restart_empty(&self) {
        assert_eq!(self.members.len(), 1, "a member alone");
        self.kill(0);
        let data = self.members[0].dir.join(DATA);
        std::fs::remove_dir_all(data).expect("what a member stored");
        self.restart(0);
    }

    /// Start a member again, where there may be no majority: it listens, and answers
    /// when it finds one.
    pub fn revive(&self, index: usize) {
        let started = until(LIMIT, || match self.start_member(index) {
            Err(Failure::PortTaken) => None,
            done => Some(done),
        });
        match started {
            Some(Ok(())) => {}
            Some(Err(Failure::Other(why))) => panic!("{why}"),
            _ => panic!("somebody else listens on a port of member {index} now"),
        }
    }

    /// Wait until a member agrees with a majority and knows all that was done by now.
    pub fn await_health(&self, index: usize) {
        if let Err(Failure::Other(why)) = self.members[index].await_health() {
            panic!("{why}");
        }
    }

    /// Stop a member by SIGSTOP: connections stay open, and nothing is done.
    pub fn freeze(&self, index: usize) {
        self.members[index].freeze();
    }

    /// Let it go on with what has come meanwhile.
    pub fn thaw(&self, index: usize) {
        self.members[index].thaw();
    }

    /// How many messages clients have sent for which method, as `LeaseGrant`, to the
    /// members that run now, since each of them started. A stream counts once for each
    /// message in it. etcdctl's are counted, the rig's other looks are not.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        let mut calls = BTreeMap::new();
        for metrics in self.members.iter().filter_map(Member::metrics) {
            for line in metrics.lines() {
                let Some(("grpc_server_msg_received_total", rest)) = line.split_once('{') else {
                    continue;
                };
                let count: Option<u64> =
                    rest.rsplit_once(' ').and_then(|(_, count)| count.parse().ok());
                let method = rest.split('"').nth(1);
                if let (Some(method), Some(count @ 1..)) = (method, count) {
                    *calls.entry(method.to_owned()).or_default() += count;
                }
            }
        }
        calls
    }

    /// Everything that the members have printed, errors alone.
    pub fn logs(&self) -> String {
        self.members.iter().map(Member::log).collect()
    }

    fn launch(&self) -> Result<(), Failure> {
        (0..self.members.len()).try_for_each(|index| self.start_member(index))?;
        self.members.iter().try_for_each(Member::await_health)
    }

    fn start_member(&self, index: usize) -> Result<(), Failure> {
        let scheme = self.settings.scheme();
        let member = &self.members[index];
        let (client, peer) = (format!("{scheme}://127.0.0.1:{}", member.port), peer_url(member));
        let all = self.members.iter().enumerate();
        let all: Vec<String> =
            all.map(|(i, member)| format!("m{i}={}", peer_url(member))).collect();
        let mut command = Command::new(self.settings.version.binary());
        command.args([
            format!("--name=m{index}"),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster={}", all.join(",")),
            // Members of another cluster that come to a port of ours are refused by it.
            format!("--initial-cluster-token={}", self.dir.path().display()),
        ]);
        command.args(self.settings.common());
        member.start(command)
    }
}

fn new_member(cluster: &Path, index: usize) -> Member {
    let dir = cluster.join(index.to_string());
    if dir.exists() {
        fs::remove_dir_all(&dir).expect("our own directory");
    }
    fs::create_dir(&dir).expect("our own directory");
    Member { port: free_port(), peer_port: free_port(), dir, process: Default::default() }
}

/// Members among themselves use no TLS.
fn peer_url(member: &Member) -> String {
    format!("http://127.0.0.1:{}", member.peer_port)
}

/// A directory with an authority and all that it signed.
fn certified(dir: &Path) -> ClientFiles {
    if !dir.exists() {
        fs::create_dir(dir).expect("our own directory");
        tls::certify_with_client(dir);
    }
    client_files(dir)
}

fn client_files(dir: &Path) -> ClientFiles {
    let [ca, cert, key] =
        [tls::AUTHORITY, tls::CLIENT_CERTIFICATE, tls::CLIENT_KEY].map(|name| dir.join(name));
    ClientFiles { ca, cert, key }
}
