//! A cluster of etcd.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

mod ctl;
mod member;
mod settings;

use member::Member;
use settings::{DATA, STRANGER, TLS};
pub use settings::{EtcdSettings, EtcdVersion};

use super::members::{Members, Process};
use super::{Failure, PORTS_TRIED, free_port, tls};

/// Members, killed when the value is dropped.
pub struct Etcd {
    settings: EtcdSettings,
    members: Members<Member>,
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

impl Deref for Etcd {
    type Target = Members<Member>;
    fn deref(&self) -> &Members<Member> {
        &self.members
    }
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
        let mut cluster = Self { settings, members: Members(Vec::new()), dir };
        for _ in 0..PORTS_TRIED {
            // They have to know of each other, so all of them begin anew.
            cluster.members.0.clear();
            let members = 0..cluster.settings.members;
            cluster.members.0 =
                members.map(|index| new_member(cluster.dir.path(), index)).collect();
            match cluster.members.launch(|index| cluster.start_member(index)) {
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

    /// Start a member again with what it stored, after killing it if it still runs,
    /// and wait until it agrees with a majority.
    pub fn restart(&self, index: usize) {
        self.revive(index);
        self.await_ready(index);
    }

    /// Start the only member again without what it stored: another cluster.
    pub fn restart_empty(&self) {
        assert_eq!(self.members.0.len(), 1, "a member alone");
        self.kill(0);
        let data = self.members.0[0].dir().join(DATA);
        std::fs::remove_dir_all(data).expect("what a member stored");
        self.restart(0);
    }

    /// Start a member again, where there may be no majority: it listens, and answers
    /// when it finds one.
    pub fn revive(&self, index: usize) {
        self.members.revive(index, |index| self.start_member(index));
    }

    /// How many messages clients have sent for which method, as `LeaseGrant`, to the
    /// members that run now, since each of them started. A stream counts once for each
    /// message in it. etcdctl's are counted, the rig's other looks are not.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        let mut calls = BTreeMap::new();
        for metrics in self.members.0.iter().filter_map(Member::metrics) {
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

    fn start_member(&self, index: usize) -> Result<(), Failure> {
        let scheme = self.settings.scheme();
        let member = &self.members.0[index];
        let (client, peer) = (format!("{scheme}://127.0.0.1:{}", member.port), peer_url(member));
        let all = self.members.0.iter().enumerate();
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
    Member { port: free_port(), peer_port: free_port(), process: Process::of(dir) }
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
