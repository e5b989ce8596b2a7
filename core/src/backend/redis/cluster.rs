//! Whether a node of a cluster can be used as if it were one server.

use std::collections::BTreeSet;
use std::sync::Arc;

use ::redis::Value;

use super::command::Command;
use super::failure::Failure;
use super::link::Link;
use crate::error::{Error, Kind};

/// Refused if other nodes have some of the slots: only the names that happen to be in
/// this node's could be locked. A cluster of one node is as good as one server. A user
/// who may not ask is let in, and told with each name that is elsewhere.
pub(super) async fn refuse_several(link: &Arc<Link>) -> Result<(), Failure> {
    let Ok(slots) = link.call(Command::of(&["CLUSTER", "SLOTS"])).await else { return Ok(()) };
    let primaries = primaries(&slots);
    if primaries <= 1 {
        return Ok(());
    }
    let message = format!(
        "this is a node of a cluster of {primaries} primaries, and most names would be on others; \
         Leasehold needs one server that is not part of a cluster, or redlock: with several"
    );
    Err(Error::new(Kind::Unsupported, message).into())
}

/// How many primaries have slots, as `CLUSTER SLOTS` tells: of each range the first and
/// the last slot, its primary and the replicas, of each the address, the port and the id.
fn primaries(slots: &Value) -> usize {
    let Value::Array(ranges) = slots else { return 0 };
    let primary = |range: &Value| {
        let Value::Array(range) = range else { return None };
        let Value::Array(node) = range.get(2)? else { return None };
        match node.get(2)? {
            Value::BulkString(id) => Some(id.clone()),
            _ => None,
        }
    };
    ranges.iter().filter_map(primary).collect::<BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primary_counts_once_and_replicas_do_not() {
        let text = |text: &str| Value::BulkString(text.into());
        let node = |id| Value::Array(vec![text("127.0.0.1"), Value::Int(7000), text(id)]);
        let range =
            |id, replica| Value::Array(vec![Value::Int(0), Value::Int(9), node(id), node(replica)]);
        let of_one = Value::Array(vec![range("a", "b"), range("a", "c")]);
        assert_eq!(primaries(&of_one), 1);
        assert_eq!(primaries(&Value::Array(vec![range("a", "b"), range("b", "a")])), 2);
        assert_eq!(primaries(&Value::Array(Vec::new())), 0);
        assert_eq!(primaries(&Value::Okay), 0);
    }
}
