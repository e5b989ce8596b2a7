//! Which servers the names of a quorum's nodes lead to, as one client sees it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Kind};

/// The run id of the server that each node was when it was connected last, by
/// the node's name.
#[derive(Default)]
pub(super) struct Servers {
    seen: Mutex<BTreeMap<String, String>>,
}

impl Servers {
    /// The run ids of all nodes but this one.
    pub(super) fn others(&self, node: &str) -> String {
        let seen = self.seen();
        let others = seen.iter().filter(|(other, _)| *other != node);
        others.map(|(_, run_id)| run_id.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// The node's name leads to this server. Refused if it is another node's.
    pub(super) fn meet(&self, node: &str, run_id: &str) -> Result<(), Error> {
        let mut seen = self.seen();
        let twin = seen.iter().find(|(other, known)| *other != node && *known == run_id);
        if let Some((other, _)) = twin {
            let message = format!(
                "{node} and {other} are one server, which would have two votes: name each server \
                 once, and see that each name leads to a server of its own"
            );
            return Err(Error::new(Kind::Refused, message));
        }
        seen.insert(node.to_owned(), run_id.to_owned());
        Ok(())
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server's record says that it is another node than its name does.
pub(super) fn misled(node: &str, recorded: &str, epoch_key: &str) -> Error {
    let message = format!(
        "this name leads to the server of {recorded}, which would have two votes: see that \
         {node} leads to a server of its own. If it does, and that server was set up from the \
         data of {recorded}, DEL {epoch_key} on it; it then grants nothing for max_ttl"
    );
    Error::new(Kind::Refused, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_one_node_at_a_time() {
        let servers = Servers::default();
        servers.meet("a", "1").expect("new");
        servers.meet("b", "2").expect("new");
        assert_eq!(servers.others("b"), "1");
        let error = servers.meet("b", "1").expect_err("it is a").to_string();
        assert!(error.contains("b and a are one server"), "{error}");
        // Nothing has changed, and a restart is another process.
        assert_eq!(servers.others("a"), "2");
        servers.meet("a", "3").expect("restarted");
        servers.meet("a", "3").expect("connected again");
        servers.meet("b", "1").expect("it is nobody's now");
    }
}
