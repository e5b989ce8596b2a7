//! Real servers of ZooKeeper, alone or as an ensemble.

use std::fs;
use std::ops::Deref;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

mod client;
mod member;
mod settings;
mod wire;

use super::members::{Members, Process};
use super::{Failure, PORTS_TRIED, free_port, tls};
use crate::patience::{LIMIT, until};
use crate::proxy::Proxy;
pub use client::{Node, ZkClient, ZkError};
use member::Member;
pub use settings::ZooKeeperSettings;
use settings::{CONFIG, DATA, STRANGER, TLS};

/// Ended when the value is dropped.
pub struct ZooKeeper {
    settings: ZooKeeperSettings,
    members: Members<Member>,
    /// By who follows, and by whom it would follow: the way on which it does.
    links: Vec<Vec<Proxy>>,
    /// The same for elections.
    elections: Vec<Vec<Proxy>>,
    dir: tempfile::TempDir,
}

impl Deref for ZooKeeper {
    type Target = Members<Member>;
    fn deref(&self) -> &Members<Member> {
        &self.members
    }
}

impl ZooKeeper {
    /// One server, with no [`ZooKeeperSettings`] but the default.
    pub fn start() -> Self {
        ZooKeeperSettings::default().start()
    }

    pub(super) fn start_with(settings: ZooKeeperSettings) -> Self {
        let dir = tempfile::Builder::new().prefix("rig").tempdir().expect("a temporary directory");
        let (members, links, elections) = (Members(Vec::new()), Vec::new(), Vec::new());
        let mut ensemble = Self { settings, members, links, elections, dir };
        if ensemble.settings.tls {
            ensemble.certify(TLS);
            ensemble.certify(STRANGER);
        }
        for _ in 0..PORTS_TRIED {
            // They have to know of each other, so all of them begin anew.
            ensemble.members.0.clear();
            let members = 0..ensemble.settings.members;
            ensemble.members.0 = members.map(|index| ensemble.new_member(index)).collect();
            ensemble.links = ensemble.ways(link_to);
            ensemble.elections = ensemble.ways(|member| Proxy::of_bytes(member.election_port));
            match ensemble.members.launch(|index| ensemble.start_member(index)) {
                Ok(()) => return ensemble,
                Err(Failure::PortTaken) => {}
                Err(Failure::Other(why)) => panic!("{:?}: {why}", ensemble.settings),
            }
        }
        panic!("{PORTS_TRIED} times in turn a port was taken by others");
    }

    /// Where clients connect that use TLS.
    pub fn secure_port(&self, index: usize) -> u16 {
        assert!(self.settings.tls, "it was started without .tls()");
        self.members.0[index].secure_port
    }

    /// Where clients connect, without a password and certificates.
    pub fn url(&self) -> String {
        format!("zookeeper://{}", self.endpoints())
    }

    /// The authority that has signed its certificate, and one that has not.
    pub fn authorities(&self) -> [std::path::PathBuf; 2] {
        assert!(self.settings.tls, "it was started without .tls()");
        [TLS, STRANGER].map(|dir| self.dir.path().join(dir).join(tls::AUTHORITY))
    }

    /// A client of the rig's own, of any member that answers.
    pub fn client(&self) -> ZkClient {
        let any = || self.members.0.iter().find_map(|member| member.client().ok());
        until(LIMIT, any).unwrap_or_else(|| panic!("no member answers:\n{}", self.logs()))
    }

    /// Those that do not lead now.
    pub fn followers(&self) -> Vec<usize> {
        let leader = self.leader();
        (0..self.members.0.len()).filter(|member| *member != leader).collect()
    }

    /// Start a member again with what it stored, after killing it if it still runs,
    /// and wait until it serves.
    pub fn restart(&self, index: usize) {
        self.revive(index);
        self.await_ready(index);
    }

    /// Start a member again, where there may be no majority: it serves when it finds one.
    pub fn revive(&self, index: usize) {
        self.members.revive(index, |index| self.start_member(index));
    }

    /// Let nothing more pass between a member and whomever it follows. Its clients still
    /// talk to it, and it to them, until it has heard nothing for its `syncLimit`.
    pub fn part(&self, follower: usize) {
        self.stall(follower, true);
    }

    /// What was kept back passes, in its order.
    pub fn join(&self, follower: usize) {
        self.stall(follower, false);
    }

    fn stall(&self, follower: usize, stall: bool) {
        self.links[follower].iter().for_each(|way| open(way, !stall));
    }

    /// From each member to each.
    fn ways(&self, to: fn(&Member) -> Proxy) -> Vec<Vec<Proxy>> {
        self.members.0.iter().map(|_| self.members.0.iter().map(to).collect()).collect()
    }

    /// Have the others elect another leader while this one hears nothing of that: it goes on as
    /// the leader until it has heard nothing for its `syncLimit`. The others are started again,
    /// so that they do not wait for as long.
    pub fn depose(&self, leader: usize) {
        let others = || (0..self.members.0.len()).filter(|other| *other != leader);
        for other in others() {
            self.stall(other, true);
            for election in [&self.elections[leader][other], &self.elections[other][leader]] {
                election.refuse(true);
                election.cut();
            }
            // What it was connected to does not see the end of that.
            self.kill(other);
        }
        for other in others() {
            // Of the ways on which it follows, those to the others are open.
            let ways = self.links[other].iter().enumerate();
            ways.filter(|(to, _)| *to != leader).for_each(|(_, way)| open(way, true));
            self.revive(other);
        }
        others().for_each(|other| self.await_ready(other));
    }

    /// Let it hear of it.
    pub fn pardon(&self, leader: usize) {
        for other in (0..self.members.0.len()).filter(|other| *other != leader) {
            self.elections[leader][other].refuse(false);
            self.elections[other][leader].refuse(false);
            self.stall(other, false);
        }
    }

    /// What a member says to one of its words of four letters, as `srvr`; `None` while it
    /// does not answer.
    pub fn ask(&self, index: usize, word: &str) -> Option<String> {
        self.members.0[index].ask(word)
    }

    /// A number of those that `mntr` shows, as `packets_received`, of a member that runs.
    pub fn number(&self, index: usize, name: &str) -> u64 {
        let shown = self.ask(index, "mntr").expect("a member that answers");
        let number = shown.lines().find_map(|line| line.strip_prefix("zk_")?.strip_prefix(name));
        let number = number.unwrap_or_else(|| panic!("no {name} in {shown}"));
        number.trim().parse().expect("a number")
    }

    /// How many writes there have been, ends of sessions and their beginnings included.
    pub fn writes(&self) -> u64 {
        let said = self.ask(self.leader(), "srvr").expect("a leader that answers");
        let zxid = said.lines().find_map(|line| line.strip_prefix("Zxid: 0x"));
        u64::from_str_radix(zxid.expect("a zxid"), 16).expect("a number") & 0xffff_ffff
    }

    fn start_member(&self, index: usize) -> Result<(), Failure> {
        let member = &self.members.0[index];
        let mut lines = self.settings.common();
        lines.push(format!("dataDir={DATA}"));
        lines.push(format!("clientPort={}", member.port));
        if self.settings.tls {
            lines.push(format!("secureClientPort={}", member.secure_port));
        }
        if self.members.0.len() > 1 {
            lines.extend((0..self.members.0.len()).map(|other| self.server_line(index, other)));
        }
        fs::write(member.dir().join(CONFIG), lines.join("\n")).expect("our own directory");
        member.start(self.settings.java())
    }

    /// How a member finds another, or where it listens itself.
    fn server_line(&self, index: usize, other: usize) -> String {
        let Member { quorum_port, election_port, .. } = self.members.0[other];
        let (quorum_port, election_port) = match index == other {
            true => (quorum_port, election_port),
            false => (self.links[index][other].port(), self.elections[index][other].port()),
        };
        format!("server.{}=127.0.0.1:{quorum_port}:{election_port}", other + 1)
    }

    fn new_member(&self, index: usize) -> Member {
        let dir = self.dir.path().join(index.to_string());
        if dir.exists() {
            fs::remove_dir_all(&dir).expect("our own directory");
        }
        fs::create_dir_all(dir.join(DATA)).expect("our own directory");
        fs::write(dir.join(DATA).join("myid"), (index + 1).to_string()).expect("our own directory");
        let [port, secure_port, quorum_port, election_port] = [(); 4].map(|()| free_port());
        Member { port, secure_port, quorum_port, election_port, process: Process::of(dir) }
    }

    /// An authority, and the certificate and key of the members in one file, as they read it.
    fn certify(&self, name: &str) {
        let dir = self.dir.path().join(name);
        fs::create_dir(&dir).expect("our own directory");
        tls::certify(&dir);
        let read = |file: &str| fs::read_to_string(dir.join(file)).expect("a file made just now");
        let both = read(tls::KEY) + &read(tls::CERTIFICATE);
        fs::write(dir.join(settings::IDENTITY), both).expect("our own directory");
    }
}

fn open(way: &Proxy, is_open: bool) {
    way.stall_upstream(!is_open);
    way.stall_downstream(!is_open);
}

/// The way to a member that leads, or is about to: it does not listen before it knows that.
fn link_to(leader: &Member) -> Proxy {
    let link = Proxy::of_bytes(leader.quorum_port);
    link.wait_for_server(Duration::from_secs(2));
    link
}

/// The command that starts Java with the server's classes.
fn java(classes: &Path) -> Command {
    assert!(
        classes.is_file(),
        "{} is not here; install it with `apt-get install -y --no-install-recommends zookeeper`",
        classes.display()
    );
    Command::new("java")
}
