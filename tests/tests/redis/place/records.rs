//! What the server stores, seen all at once.

use leasehold_tests::resp::Reply;
use leasehold_tests::servers::Server;

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    pub(crate) key: String,
    pub(crate) kind: String,
    /// How many ms it lives; -1: for ever.
    pub(crate) lives: i64,
    /// Of a string.
    pub(crate) value: String,
}

const SCRIPT: &str = "
local found = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind = redis.call('TYPE', key).ok
  local value = kind == 'string' and redis.call('GET', key) or ''
  found[#found + 1] = {key, kind, redis.call('PTTL', key), value}
end
return found";

pub(crate) fn records(server: &Server) -> Vec<Record> {
    let reply = server.command(&["EVAL", SCRIPT, "0"]);
    let record = |reply: &Reply| {
        let [key, kind, lives, value] = reply.as_list().unwrap() else { panic!("{reply:?}") };
        let text = |reply: &Reply| reply.as_str().unwrap().to_owned();
        let lives = lives.as_int().unwrap();
        Record { key: text(key), kind: text(kind), lives, value: text(value) }
    };
    let reply = reply.as_list().unwrap_or_else(|| panic!("{reply:?}"));
    // A key that ended in between has no type any more.
    reply.iter().map(record).filter(|record| record.kind != "none").collect()
}

impl Record {
    /// Whether somebody holds or waits for a lock by it.
    pub(crate) fn is_in_use(&self) -> bool {
        self.kind == "zset" || self.kind == "string" && !self.is_fence()
    }

    /// Whether it is the last fence of a lock.
    pub(crate) fn is_fence(&self) -> bool {
        self.key.contains("\0f")
    }
}

/// Whether nobody holds or waits for anything.
pub(crate) fn is_idle(server: &Server) -> bool {
    !records(server).iter().any(Record::is_in_use)
}
