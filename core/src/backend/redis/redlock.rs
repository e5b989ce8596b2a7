//! Redlock: three, five or more independent Redis servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::address::{self, Address, Quarantine, span};
use super::dial::{Epoch, Unrecorded};
use super::node::RedisNode;
use super::servers::Servers;
use crate::backend::Quorum;
use crate::backend::quorum::round::{Asking, Round};
use crate::backend::quorum::{CLAMP, LAG, Node, check_number};
use crate::error::{Error, Kind};
use crate::runtime::Runtime;
use crate::time::drift;

const MAX_TTL: Duration = Duration::from_secs(30);

/// What a `redlock:` URL says.
pub(crate) struct Redlock {
    nodes: Vec<Address>,
    max_ttl: Duration,
    /// Even if no server has a record, none is taken for new.
    strict: bool,
    founding: Arc<AtomicBool>,
}

type Seen = Result<Arc<Epoch>, Error>;

impl Redlock {
    /// Read what follows `redlock:`, without the query, and the options from it.
    pub(crate) fn parse(list: &str, options: &[(String, String)]) -> Result<Self, Error> {
        let (mut max_ttl, mut strict, mut rest) = (MAX_TTL, false, Vec::new());
        for (option, value) in options {
            match (&**option, &**value) {
                ("max_ttl", value) => max_ttl = span(value)?,
                ("quarantine", "on") => strict = false,
                ("quarantine", "strict") => strict = true,
                ("quarantine", value) => {
                    let message = format!("quarantine={value} in the URL is neither on nor strict");
                    return Err(Error::invalid(message));
                }
                _ => rest.push((option.clone(), value.to_owned())),
            }
        }
        let list = list.strip_prefix("//").unwrap_or(list).split(',').filter(|n| !n.is_empty());
        let urls: Vec<String> = list
            .map(|node| match node.contains("://") {
                true => node.to_owned(),
                false => format!("redis://{node}"),
            })
            .collect();
        let is_encrypted = |url: &String| url.starts_with("rediss:") || url.starts_with("valkeys:");
        let some_are = urls.iter().any(is_encrypted);
        let parse = |url: &String| {
            let mut options = rest.clone();
            // Meant for those that are encrypted.
            options.retain(|(option, _)| option != "ca" || is_encrypted(url) || !some_are);
            Address::parse(url, &options)
        };
        let mut nodes: Vec<Address> = urls.iter().map(parse).collect::<Result<_, Error>>()?;
        check_number(nodes.len())?;
        // The same for all clients, in whatever order they name the nodes.
        nodes.sort_by(|a, b| a.shown.cmp(&b.shown));
        if let Some(twice) = nodes.windows(2).find(|pair| pair[0].shown == pair[1].shown) {
            return Err(same(&twice[0], &twice[1]));
        }
        let names: Vec<&str> = nodes.iter().map(|node| node.shown.as_str()).collect();
        let (needed, names) = (nodes.len() / 2 + 1, names.join(","));
        let mut agreed = format!("{needed} of {names}, max_ttl={max_ttl:?}");
        // A ballot may be as old as a record that is forgotten.
        if nodes[0].remember != address::REMEMBER {
            agreed += &format!(", remember={:?}", nodes[0].remember);
        }
        let founding = Arc::new(AtomicBool::new(true));
        // Longer than a lease, and than what ballots may be ahead by the longest
        // step back of a clock that is allowed for.
        let span = max_ttl + drift(max_ttl) + CLAMP;
        let quarantine = Quarantine { max_ttl, span, agreed, founding: founding.clone() };
        for node in &mut nodes {
            node.quarantine = Some(quarantine.clone());
            node.is_node = true;
        }
        Ok(Self { nodes, max_ttl, strict, founding })
    }

    /// Connect to as many as can be reached.
    pub(crate) async fn connect(self, runtime: Arc<dyn Runtime>) -> Result<Quorum, Error> {
        let channel: Arc<str> = format!("leasehold:{:032x}", runtime.random()).into();
        let servers: Arc<Servers> = Arc::default();
        let start = |address| {
            let (channel, servers) = (channel.clone(), servers.clone());
            Arc::new(RedisNode::start(address, channel, servers, runtime.clone()))
        };
        let nodes: Vec<Arc<RedisNode>> = self.nodes.into_iter().map(start).collect();
        let epochs = look(&nodes, &*runtime).await;
        check(&nodes, &epochs)?;
        let are_new = epochs.iter().all(|epoch| matches!(epoch, Some(Ok(e)) if e.is_missing));
        let unrecorded = match are_new && !self.strict {
            true => Unrecorded::Found,
            false => Unrecorded::Quarantine,
        };
        self.founding.store(false, Ordering::SeqCst);
        for (node, epoch) in nodes.iter().zip(&epochs) {
            if let Some(Ok(epoch)) = epoch
                && epoch.is_missing
            {
                // If that fails, the next connection sees to it.
                drop(node.enter(epoch, unrecorded).await);
            }
        }
        let nodes = nodes.into_iter().map(|node| node as Arc<dyn Node>).collect();
        Quorum::new(nodes, self.max_ttl, runtime)
    }
}

/// What each server is. Who is slow is waited for while it takes all of them to
/// tell whether they are new, and else a little.
async fn look(nodes: &[Arc<RedisNode>], runtime: &dyn Runtime) -> Vec<Option<Seen>> {
    let mut round = Round::of_all(nodes.iter().map(|node| Box::pin(node.epoch()) as Asking<'_, _>));
    let needed = nodes.len() / 2 + 1;
    let is_enough = |round: &Round<'_, Arc<Epoch>>| {
        // If one has a record, they are not all new.
        round.answers().count() >= needed && round.answers().any(|epoch| !epoch.is_missing)
    };
    round.until(|_, _| (), is_enough).await;
    tokio::select! {
        biased;
        () = round.until(|_, _| (), |_| false) => {}
        () = runtime.sleep(LAG) => {}
    }
    round.into_answers()
}

/// Whether this is a quorum that can be worked with.
fn check(nodes: &[Arc<RedisNode>], epochs: &[Option<Seen>]) -> Result<(), Error> {
    let mut up = 0;
    let mut failures = Vec::new();
    for epoch in epochs {
        match epoch {
            Some(Ok(_)) => up += 1,
            // What does not mend itself is not to be found out in an emergency.
            Some(Err(e)) if e.kind() != Kind::Unavailable => {
                return Err(Error::new(e.kind(), e.to_string()));
            }
            Some(Err(e)) => failures.push(e.to_string()),
            None => {}
        }
    }
    let (all, needed) = (nodes.len(), nodes.len() / 2 + 1);
    match up >= needed {
        true => Ok(()),
        false => Err(Error::unavailable(format!(
            "{up} of {all} nodes can be used, and it takes {needed}: {}",
            failures.join("; ")
        ))),
    }
}

fn same(one: &Address, other: &Address) -> Error {
    Error::new(
        Kind::Refused,
        format!(
            "{} and {} are one server, which would have two votes; name each once",
            one.shown, other.shown
        ),
    )
}
