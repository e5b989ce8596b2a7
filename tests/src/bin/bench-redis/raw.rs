//! What the server can do with Leasehold's own requests: redis-benchmark sends
//! them over one connection, many at a time.

use std::process::Command;

use leasehold_tests::resp::Reply;
use leasehold_tests::servers::{Connection, Server};

use crate::Failure;

/// Requests in one pipeline.
const PIPELINE: &str = "500";
const CLAIMS: u64 = 60_000;
const RELEASES: u64 = 40_000;
/// So many that few are released twice.
const HELD: u64 = 400_000;
const BATCH: u64 = 50_000;
/// What is not granted or not held is cheaper for the server.
const SHARE: f64 = 0.9;
/// The argument after EVALSHA, the hash and the number of keys.
const LOCK: usize = 3;

const HOLD: &str = "for i = ARGV[1], ARGV[2] - 1 do
  redis.call('SET', string.format('raw:%012d', i), ARGV[3], 'PX', 60000)
end";

/// A server of its own, and a claim and a release as Leasehold sends them.
pub(crate) struct Raw {
    server: Server,
    claim: Vec<String>,
    release: Vec<String>,
    /// What the key of a lock held by that release's owner holds.
    held: String,
}

impl Raw {
    /// Listen to a client of Leasehold.
    pub(crate) async fn record() -> Result<Self, Failure> {
        let server = Server::start();
        let client = leasehold::connect(&server.url()).await?;
        let lock = client.lock("raw");
        // Teaches the scripts.
        lock.acquire().await?.release().await?;
        let mut monitor = Connection::open(server.port())?;
        monitor.ask(&["MONITOR"])?;
        let lease = lock.acquire().await?;
        let claim = request(&mut monitor)?;
        let held = server.command(&["GET", &claim[LOCK]]);
        let held = held.as_str().ok_or("the key of a held lock holds nothing")?.to_owned();
        lease.release().await?;
        let release = request(&mut monitor)?;
        Ok(Self { server, claim, release, held })
    }

    /// As many as the server can do of each, one after the other.
    pub(crate) fn pairs_per_second(&self) -> Result<f64, Failure> {
        let claims = self.claims_per_second()?;
        let releases = self.releases_per_second()?;
        Ok(1.0 / (1.0 / claims + 1.0 / releases))
    }

    fn claims_per_second(&self) -> Result<f64, Failure> {
        self.server.command(&["FLUSHALL"]);
        let rate = self.send(&self.claim, CLAIMS, 1_000_000_000)?;
        self.check("granted", self.keys()?, CLAIMS)?;
        Ok(rate)
    }

    fn releases_per_second(&self) -> Result<f64, Failure> {
        self.server.command(&["FLUSHALL"]);
        for first in (0..HELD).step_by(BATCH as usize) {
            let (from, to) = (first.to_string(), (first + BATCH).to_string());
            self.server.command(&["EVAL", HOLD, "0", &from, &to, &self.held]);
        }
        let rate = self.send(&self.release, RELEASES, HELD)?;
        self.check("held", HELD - self.keys()?, RELEASES)?;
        Ok(rate)
    }

    /// The lock is another one in each request; its side keys are always the
    /// same, as they are there already when a name is used again.
    fn send(&self, request: &[String], count: u64, names: u64) -> Result<f64, Failure> {
        let mut request = request.to_vec();
        request[LOCK] = "raw:__rand_int__".to_owned();
        let output = Command::new("redis-benchmark")
            .args(["-c", "1", "-P", PIPELINE, "-q", "-p", &self.server.port().to_string()])
            .args(["-n", &count.to_string(), "-r", &names.to_string()])
            .args(request)
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let before = said.rsplit_once(" requests per second").map(|(before, _)| before);
        let rate = before.and_then(|before| before.split_whitespace().next_back()?.parse().ok());
        rate.ok_or_else(|| format!("redis-benchmark says {said:?}").into())
    }

    fn keys(&self) -> Result<u64, Failure> {
        match self.server.command(&["DBSIZE"]) {
            Reply::Int(keys) => Ok(keys.unsigned_abs()),
            other => Err(format!("DBSIZE is {other:?}").into()),
        }
    }

    fn check(&self, what: &str, were: u64, of: u64) -> Result<(), Failure> {
        match were as f64 >= SHARE * of as f64 {
            true => Ok(()),
            false => Err(format!("only {were} of {of} locks were {what}").into()),
        }
    }
}

/// The next that a client sends; not what a script calls.
fn request(monitor: &mut Connection) -> Result<Vec<String>, Failure> {
    loop {
        let said = monitor.receive()?;
        let said = said.as_str().ok_or("MONITOR says something else than commands")?;
        let Some((source, words)) = said.split_once("] \"") else { continue };
        let words = words.strip_suffix('"').unwrap_or(words);
        let words: Vec<String> = words.split("\" \"").map(str::to_owned).collect();
        if !source.ends_with("lua") && words[0] == "EVALSHA" {
            return Ok(words);
        }
    }
}
