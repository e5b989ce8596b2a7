//! What is asked of a server, and what it answers, as bytes.
//!
//! Requests and answers are those of ZooKeeper 3.5 and newer (`zookeeper.jute`,
//! `ZooDefs.java`). An answer tells the number of its request and not its kind: it is read
//! as an answer to what was asked, whole and to its last byte, or not at all.

use super::jute::{Malformed, Reader, Writer};
use super::names::number_of;

/// Numbers of messages that answer no request.
pub(super) const EVENT: i32 = -1;
const AUTH: i32 = -4;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// A node that lives with the session, and gets a number at the end of its name.
    CreateInLine {
        path: String,
        data: Vec<u8>,
    },
    /// A node that stays; `in_use`: until it has had children, and has none any more.
    CreateStaying {
        path: String,
        in_use: bool,
    },
    Delete {
        path: String,
    },
    Exists {
        path: String,
        watch: bool,
    },
    Data {
        path: String,
        watch: bool,
    },
    SetData {
        path: String,
        data: Vec<u8>,
    },
    Children {
        path: String,
    },
    /// Answered when all that was committed before it is seen here: by the leader, who
    /// looks whether the session lives.
    Sync {
        path: String,
    },
    /// The end of the session.
    Close,
}

/// What a server knows of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stat {
    /// The number of the transaction that created it.
    pub(super) czxid: i64,
    /// How often its data was written.
    pub(super) version: i32,
    /// The session that it lives with, or zero.
    pub(super) owner: i64,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Created { path: String, stat: Stat },
    Stat(Stat),
    Data { data: Vec<u8>, stat: Stat },
    Children(Vec<String>),
    Done,
}

/// Who may use what is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Everybody,
    /// Whoever logs in as we do.
    LoggedIn,
}

const ALL: i32 = 31;
const EPHEMERAL_SEQUENTIAL: i32 = 3;
const PERSISTENT: i32 = 0;
const CONTAINER: i32 = 4;

impl Ask {
    fn code(&self) -> i32 {
        match self {
            Ask::CreateInLine { .. } | Ask::CreateStaying { in_use: false, .. } => 15,
            Ask::CreateStaying { in_use: true, .. } => 19,
            Ask::Delete { .. } => 2,
            Ask::Exists { .. } => 3,
            Ask::Data { .. } => 4,
            Ask::SetData { .. } => 5,
            Ask::Children { .. } => 8,
            Ask::Sync { .. } => 9,
            Ask::Close => -11,
        }
    }

    /// The message that asks it.
    pub(super) fn message(&self, xid: i32, access: Access) -> Vec<u8> {
        const ANY_VERSION: i32 = -1;
        let out = Writer::framed().int(xid).int(self.code());
        let create = |out: Writer, path: &str, data: &[u8], flags: i32| {
            let (scheme, id) = match access {
                Access::Everybody => ("world", "anyone"),
                Access::LoggedIn => ("auth", ""),
            };
            let out = out.text(path).bytes(data);
            out.int(1).int(ALL).text(scheme).text(id).int(flags)
        };
        match self {
            Ask::CreateInLine { path, data } => create(out, path, data, EPHEMERAL_SEQUENTIAL),
            Ask::CreateStaying { path, in_use } => {
                create(out, path, &[], if *in_use { CONTAINER } else { PERSISTENT })
            }
            Ask::Delete { path } => out.text(path).int(ANY_VERSION),
            Ask::Exists { path, watch } | Ask::Data { path, watch } => out.text(path).bool(*watch),
            Ask::SetData { path, data } => out.text(path).bytes(data).int(ANY_VERSION),
            Ask::Children { path } => out.text(path).bool(false),
            Ask::Sync { path } => out.text(path),
            Ask::Close => out,
        }
        .end()
    }

    /// What comes after the head of its answer, if that is no refusal.
    pub(super) fn answer(&self, mut body: Reader<'_>) -> Result<Said, Malformed> {
        let said = match self {
            Ask::CreateInLine { path: asked, .. } => {
                let path = body.text()?.to_owned();
                let number = path.strip_prefix(&**asked).ok_or(Malformed)?;
                number_of(number).ok_or(Malformed)?;
                Said::Created { path, stat: stat(&mut body)? }
            }
            Ask::CreateStaying { path: asked, .. } => {
                let path = body.text()?.to_owned();
                if path != *asked {
                    return Err(Malformed);
                }
                Said::Created { path, stat: stat(&mut body)? }
            }
            Ask::Exists { .. } | Ask::SetData { .. } => Said::Stat(stat(&mut body)?),
            Ask::Data { .. } => {
                let data = body.bytes()?.to_vec();
                Said::Data { data, stat: stat(&mut body)? }
            }
            Ask::Children { .. } => Said::Children(body.texts()?),
            Ask::Sync { path: asked } => {
                if body.text()? != asked {
                    return Err(Malformed);
                }
                Said::Done
            }
            Ask::Delete { .. } | Ask::Close => Said::Done,
        };
        body.end()?;
        Ok(said)
    }
}

fn stat(body: &mut Reader<'_>) -> Result<Stat, Malformed> {
    let czxid = body.long()?;
    let _mzxid = body.long()?;
    let (_ctime, _mtime) = (body.long()?, body.long()?);
    let version = body.int()?;
    let (_cversion, _aversion) = (body.int()?, body.int()?);
    let owner = body.long()?;
    let (_length, _children) = (body.int()?, body.int()?);
    let _pzxid = body.long()?;
    if czxid < 0 {
        return Err(Malformed);
    }
    Ok(Stat { czxid, version, owner })
}

/// The head of an answer or of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) xid: i32,
    /// The newest transaction that the server has seen.
    pub(super) zxid: i64,
    pub(super) code: i32,
}

impl Head {
    pub(super) fn read(message: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { xid: message.int()?, zxid: message.long()?, code: message.int()? })
    }
}

/// What is told unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// What was watched has changed or is gone.
    Node(String),
    /// About the session, of which answers tell more.
    Other,
}

impl Event {
    pub(super) fn read(mut body: Reader<'_>) -> Result<Self, Malformed> {
        let (kind, _state, path) = (body.int()?, body.int()?, body.text()?.to_owned());
        body.end()?;
        Ok(if (1..=4).contains(&kind) { Self::Node(path) } else { Self::Other })
    }
}

/// A session as its first message asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) id: i64,
    pub(super) password: Vec<u8>,
    pub(super) timeout_ms: i32,
}

impl Session {
    /// The first message of a connection. `seen`: a server that is behind it is refused.
    pub(super) fn message(&self, seen: i64) -> Vec<u8> {
        let (version, read_only) = (0, false);
        let out = Writer::framed().int(version).long(seen).int(self.timeout_ms).long(self.id);
        out.bytes(&self.password).bool(read_only).end()
    }

    /// The answer to it, and whether the server only reads.
    pub(super) fn answer(message: &[u8]) -> Result<(Self, bool), Malformed> {
        let mut body = Reader::of(message);
        let _version = body.int()?;
        let (timeout_ms, id, password) = (body.int()?, body.long()?, body.bytes()?.to_vec());
        // Old servers do not say it.
        let reads_only = !body.is_empty() && body.bool()?;
        body.end()?;
        Ok((Self { id, password, timeout_ms }, reads_only))
    }
}

/// The message that logs in.
pub(super) fn log_in(user: &str, password: &str) -> Vec<u8> {
    let login = format!("{user}:{password}");
    Writer::framed().int(AUTH).int(100).int(0).text("digest").text(&login).end()
}

/// Whether the answer to that lets us in.
pub(super) fn is_let_in(message: &[u8]) -> Result<bool, Malformed> {
    let mut body = Reader::of(message);
    let head = Head::read(&mut body)?;
    if head.xid != AUTH {
        return Err(Malformed);
    }
    Ok(head.code == 0)
}
