//! Where the servers are and below which node the locks: what a URL and its options say.

use std::time::Duration;

use crate::backend::cluster::{Cluster, Kind, unreadable};
use crate::backend::net::span;
use crate::error::Error;

const KIND: Kind = Kind { encrypted: "zookeepers", port: 2181, own_option: "tick" };
const BASE: &str = "/leasehold";

/// The servers, and how this client uses them.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(super) cluster: Cluster,
    /// The node below which the locks are.
    pub(super) base: String,
    /// The servers' `tickTime`, if the URL tells.
    pub(super) tick: Option<Duration>,
}

impl Address {
    /// Read a URL without its query, and the options from the query.
    pub(crate) fn parse(address: &str, options: &[(String, String)]) -> Result<Self, Error> {
        let mut tick = None;
        let cluster = Cluster::parse(&KIND, address, options, |value| {
            tick = Some(read_tick(value)?);
            Ok(())
        })?;
        let unreadable = |why: &str| unreadable("zookeeper", why);
        if cluster.login.as_ref().is_some_and(|(name, _)| name.contains(':')) {
            return Err(unreadable("the name of a user has no colon"));
        }
        if !is_base(&cluster.path) {
            return Err(unreadable("what follows the hosts is no path of a node"));
        }
        let base = if cluster.path.is_empty() { BASE } else { &cluster.path }.to_owned();
        Ok(Self { cluster, base, tick })
    }
}

fn read_tick(value: &str) -> Result<Duration, Error> {
    let bounds = Duration::from_millis(1)..=Duration::from_secs(60);
    let tick = Some(span("tick", value)?).filter(|tick| bounds.contains(tick));
    let no_tick = || format!("tick={value} in the URL is no tickTime of a server");
    tick.ok_or_else(|| Error::invalid(no_tick()))
}

/// Whether locks can be there. What is below `/zookeeper` is the servers' own.
fn is_base(path: &str) -> bool {
    let is_node = |node: &str| {
        let is_odd = |c: char| c.is_control() || c == '\u{fffd}' || c.is_whitespace();
        !node.is_empty() && node != "." && node != ".." && !node.contains(is_odd)
    };
    let is_servers_own = path == "/zookeeper" || path.starts_with("/zookeeper/");
    path.is_empty() || path[1..].split('/').all(is_node) && !is_servers_own
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
    fn a_path_and_a_tick_may_be_given() {
        let address = parse("zookeeper://a/x/y/?tick=3s").unwrap();
        assert_eq!((&*address.base, address.tick), ("/x/y", Some(Duration::from_secs(3))));
        assert_eq!(address.cluster.members, [("a".to_owned(), 2181)]);
        for url in ["zookeeper://a", "zookeeper://a/"] {
            assert_eq!(parse(url).unwrap().base, BASE);
        }
        assert_eq!(parse("zookeepers://a").is_ok(), cfg!(feature = "tls"));
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        for (url, word) in [
            ("zookeeper://a/b//c", "path"),
            ("zookeeper://a/zookeeper/x", "path"),
            ("zookeeper://a/../x", "path"),
            ("zookeeper://a%3Ab:x@c", "no colon"),
            ("zookeeper://a?prefix=a", "prefix"),
            ("zookeeper://a?tick=soon", "tick"),
            ("zookeeper://a?tick=0s", "tick"),
        ] {
            let error = parse(url).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{url}");
            assert!(error.to_string().contains(word), "{url}: {error}");
        }
    }
}
