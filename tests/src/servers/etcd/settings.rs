//! What a cluster is started with.

use std::path::PathBuf;

use super::Etcd;
use crate::servers::{root, tls};

/// The user as whom the rig looks into a cluster that has users, and its password.
pub(super) const ROOT: &str = "root";

/// In the directory of a cluster: what is signed by its authority, and by another one.
pub(super) const TLS: &str = "tls";
pub(super) const STRANGER: &str = "stranger";

/// In the directory of a member, which it is started in.
pub(super) const DATA: &str = "data";
pub(super) const METRICS: &str = "metrics:0";

/// Which etcd, as xtask unpacked it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EtcdVersion {
    /// 3.5 or newer.
    New,
    /// 3.4.
    Old,
}

impl EtcdVersion {
    pub(super) fn binary(self) -> PathBuf {
        match self {
            Self::New => unpacked("etcd/usr/bin/etcd"),
            Self::Old => unpacked("etcd-3.4/usr/bin/etcd"),
        }
    }
}

/// The same for both versions.
pub(super) fn etcdctl() -> PathBuf {
    unpacked("etcd/usr/bin/etcdctl")
}

fn unpacked(program: &str) -> PathBuf {
    let found = root().join("target/servers").join(program);
    assert!(found.is_file(), "{program} is not here; unpack it with `cargo xtask servers`");
    found
}

/// A cluster to be started.
#[derive(Clone, Debug)]
#[must_use]
pub struct EtcdSettings {
    pub(super) members: usize,
    pub(super) version: EtcdVersion,
    pub(super) tls: bool,
    /// Names and passwords.
    pub(super) users: Vec<(String, String)>,
    fsync: bool,
    flags: Vec<String>,
}

impl Default for EtcdSettings {
    fn default() -> Self {
        Self {
            members: 1,
            version: EtcdVersion::New,
            tls: false,
            users: Vec::new(),
            fsync: false,
            flags: Vec::new(),
        }
    }
}

impl EtcdSettings {
    /// One is what starts otherwise.
    pub fn members(mut self, members: usize) -> Self {
        self.members = members;
        self
    }

    /// The new one is what starts otherwise.
    pub fn version(mut self, version: EtcdVersion) -> Self {
        self.version = version;
        self
    }

    /// Listen for TLS and for nothing else, with a certificate for `localhost` and
    /// `127.0.0.1`, and ask clients for one of the same authority.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Refuse whom it does not know, and let this user read and write below
    /// `leasehold/`. The rig itself is `root`.
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push((name.to_owned(), password.to_owned()));
        self
    }

    /// How many seconds a user's token is good for after it was last used.
    pub fn token_ttl(self, seconds: u32) -> Self {
        self.flag(&format!("--auth-token-ttl={seconds}"))
    }

    /// Elect another leader after 0.2 to 0.4 s instead of 1 to 2. Leases may then
    /// last 1 s instead of 2. On a busy machine leaders change without a reason.
    pub fn fast_elections(self) -> Self {
        self.flag("--heartbeat-interval=20").flag("--election-timeout=200")
    }

    /// Every write is on disk before it is answered, as it always is in the old
    /// version. Otherwise it is with the kernel, and outlives the process only.
    pub fn fsync(mut self) -> Self {
        self.fsync = true;
        self
    }

    /// Any flag of etcd, as `--snapshot-count=100`.
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Start it and wait until all of its members answer.
    pub fn start(self) -> Etcd {
        Etcd::start_with(self)
    }

    pub(super) fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// What all members are started with, in directories beside each other.
    pub(super) fn common(&self) -> Vec<String> {
        let mut flags = vec![
            format!("--data-dir={DATA}"),
            "--logger=zap".to_owned(),
            "--log-level=error".to_owned(),
            // Without TLS, without a user, and with no port that somebody may take.
            format!("--listen-metrics-urls=unix://{METRICS}"),
            // The least that there is, because nobody is to be kept out for long.
            "--bcrypt-cost=4".to_owned(),
        ];
        if self.version == EtcdVersion::New && !self.fsync {
            flags.push("--unsafe-no-fsync".to_owned());
        }
        if self.tls {
            let at = |name| format!("../{TLS}/{name}");
            flags.push("--client-cert-auth".to_owned());
            flags.push(format!("--trusted-ca-file={}", at(tls::AUTHORITY)));
            flags.push(format!("--cert-file={}", at(tls::CERTIFICATE)));
            flags.push(format!("--key-file={}", at(tls::KEY)));
        }
        // Last, so that the test has the last word.
        flags.extend(self.flags.iter().cloned());
        flags
    }
}
