//! Where the cluster is and which keys are ours: what a URL and its options say.

use crate::backend::cluster::{Cluster, Kind, unreadable};
use crate::error::Error;

const KIND: Kind = Kind { encrypted: "etcds", port: 2379, own_option: "prefix" };
const PREFIX: &str = "leasehold/";

/// A cluster, and how this client uses it.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(super) cluster: Cluster,
    /// Stands before every lock's name.
    pub(in crate::backend::etcd) prefix: String,
}

impl Address {
    /// Read a URL without its query, and the options from the query.
    pub(crate) fn parse(address: &str, options: &[(String, String)]) -> Result<Self, Error> {
        let mut prefix = PREFIX.to_owned();
        let cluster = Cluster::parse(&KIND, address, options, |value| {
            value.clone_into(&mut prefix);
            Ok(())
        })?;
        if !cluster.path.is_empty() {
            let why = format!("there is nothing for {:?} behind the hosts to name", cluster.path);
            return Err(unreadable("etcd", &why));
        }
        Ok(Self { cluster, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_may_be_given_and_a_path_may_not() {
        let parse = |url: &str, options: &[(String, String)]| Address::parse(url, options);
        assert_eq!(parse("etcd://a/", &[]).unwrap().prefix, PREFIX);
        let option = [("prefix".to_owned(), "x/".to_owned())];
        let address = parse("etcds://a", &option).unwrap();
        assert_eq!((&*address.prefix, address.cluster.members[0].1), ("x/", 2379));
        assert_eq!(address.cluster.tls.is_some(), cfg!(feature = "tls"));
        assert!(parse("etcd://a/b", &[]).unwrap_err().to_string().contains("/b"));
    }
}
