//! The face of Leasehold in Rust, for scenarios: does what a line of JSON says, answers
//! with a line. It knows no time and repeats nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::io::{BufRead, Write};
use std::rc::Rc;
use std::time::Duration;

use leasehold::{Client, Error, Lease, Lock, Loss, Options, Run, Status, Term};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

/// What came of a call, or its error as scenarios know it.
type Came = Result<Value, Value>;

#[derive(Default)]
struct Shim {
    client: RefCell<Option<Client>>,
    leases: RefCell<HashMap<String, Rc<Lease>>>,
    terms: RefCell<HashMap<String, Rc<Term>>>,
    /// Calls that can be cancelled, and work that waits to be finished.
    running: RefCell<HashMap<u64, oneshot::Sender<()>>>,
    working: RefCell<HashMap<u64, oneshot::Sender<bool>>>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (sender, mut lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            drop(sender.send(line));
        }
    });
    let shim = Rc::new(Shim::default());
    let tasks = tokio::task::LocalSet::new();
    let read = async {
        while let Some(line) = lines.recv().await {
            let request: Value = serde_json::from_str(&line).expect("a line of JSON");
            // In the order in which they come; each goes on by itself.
            tokio::task::spawn_local(shim.clone().handle(request));
        }
    };
    tasks.run_until(read).await;
}

impl Shim {
    async fn handle(self: Rc<Self>, request: Value) {
        let id = request["id"].as_u64().expect("a number");
        let call = request["call"].as_u64();
        let (cancel, cancelled) = oneshot::channel();
        self.running.borrow_mut().insert(id, cancel);
        let came = match request["do"].as_str().expect("a verb") {
            "cancel" => {
                let running = call.and_then(|call| self.running.borrow_mut().remove(&call));
                let _ = running.map(|cancel| cancel.send(()));
                return;
            }
            "finish" => {
                let working = call.and_then(|call| self.working.borrow_mut().remove(&call));
                let raise = request["raise"] == true;
                let _ = working.map(|finish| finish.send(raise));
                return;
            }
            verb => unless(cancelled, self.act(verb, id, &request)).await,
        };
        self.running.borrow_mut().remove(&id);
        let came = came.unwrap_or_else(|| Err(failure("cancelled", None, "it was cancelled")));
        say(match came {
            Ok(answer) => json!({"id": id, "ok": answer}),
            Err(error) => json!({"id": id, "error": error}),
        });
    }

    async fn act(&self, verb: &str, id: u64, request: &Value) -> Came {
        let text = |key: &str| request[key].as_str().unwrap_or_default();
        let lease = self.leases.borrow().get(text("lease")).cloned();
        let lease = || lease.ok_or_else(|| failure("shim", None, "there is no such lease"));
        Ok(match verb {
            "connect" => {
                let client = options(request).connect(text("url")).await.map_err(error)?;
                *self.client.borrow_mut() = Some(client);
                json!({})
            }
            "acquire" => {
                let taken = self.lock(request).acquire().await.map_err(error)?;
                self.keep(text("lease"), Some(taken))
            }
            "try" => {
                let taken = self.lock(request).try_acquire().await.map_err(error)?;
                self.keep(text("lease"), taken)
            }
            "work" => self.work(id, request).await?,
            "give" => {
                let ticket = lease()?.into_ticket().await.map_err(error)?;
                json!({"ticket": ticket.as_str()})
            }
            "adopt" => {
                let adopted = self.client().adopt(text("ticket")).await.map_err(error)?;
                self.keep(text("lease"), Some(adopted))
            }
            "once" => {
                let once = self.client().once(text("lock"));
                let once = once.every(span(request, "every").unwrap_or_default());
                let done = once.run(async |_| Ok::<_, Error>(())).await.map_err(error)?;
                json!({"ran": matches!(done, Run::Ran(_))})
            }
            "campaign" => {
                let mut election = self.client().election(text("lock")).value(text("value"));
                if let Some(ttl) = span(request, "ttl") {
                    election = election.ttl(ttl);
                }
                let term = election.campaign().await.map_err(error)?;
                self.terms.borrow_mut().insert(text("lease").to_owned(), Rc::new(term));
                json!({})
            }
            "resign" => {
                let term = self.terms.borrow_mut().remove(text("lease"));
                let term = term.ok_or_else(|| failure("shim", None, "there is no such term"))?;
                term.resign().await.map(|()| json!({})).map_err(error)?
            }
            "leader" => {
                let leader = self.client().election(text("lock")).leader().await.map_err(error)?;
                json!({"value": leader.map(|leader| leader.value)})
            }
            "release" => lease()?.release().await.map(|()| json!({})).map_err(error)?,
            "renew" => lease()?.renew().await.map(|()| json!({})).map_err(error)?,
            "drop" => {
                drop(self.leases.borrow_mut().remove(text("lease")));
                json!({})
            }
            "look" => json!({"lease": shown(&*lease()?)}),
            "lost" => json!({"why": why(lease()?.lost().await)}),
            "status" => {
                let status = self.client().status(text("lock")).await.map_err(error)?;
                json!({"status": status.as_ref().map(shown_status)})
            }
            "list" => {
                let list = self.client().list().await.map_err(error)?;
                json!({"locks": list.iter().map(|s| s.name.as_str()).collect::<Vec<_>>()})
            }
            "break" => {
                let was_held = self.client().break_lock(text("lock")).await.map_err(error)?;
                json!({"was_held": was_held})
            }
            "close" => {
                self.client().close().await;
                json!({})
            }
            other => return Err(failure("shim", None, &format!("{other:?} is unknown here"))),
        })
    }

    /// The language's own block: work that is dropped when the lease is lost.
    async fn work(&self, id: u64, request: &Value) -> Came {
        let (finish, finished) = oneshot::channel();
        self.working.borrow_mut().insert(id, finish);
        let work = async |lease: &Lease| {
            say(json!({"id": id, "began": {"lease": shown(lease)}}));
            finished.await.unwrap_or(false)
        };
        match self.lock(request).run(work).await.map_err(error)? {
            true => Err(failure("own", None, "the work's own failure")),
            false => Ok(json!({})),
        }
    }

    fn client(&self) -> Client {
        self.client.borrow().clone().expect("it was told to connect")
    }

    fn lock(&self, request: &Value) -> Lock {
        let mut lock = self.client().lock(request["lock"].as_str().unwrap_or_default());
        if let Some(ttl) = span(request, "ttl") {
            lock = lock.ttl(ttl);
        }
        if let Some(wait) = span(request, "wait") {
            lock = lock.wait(wait);
        }
        if let Some(max_hold) = span(request, "max_hold") {
            lock = lock.max_hold(max_hold);
        }
        if let Some(auto_renew) = request["auto_renew"].as_bool() {
            lock = lock.auto_renew(auto_renew);
        }
        if request["shared"] == true {
            lock = lock.shared();
        }
        if let Some(permits) = request["permits"].as_u64() {
            lock = lock.permits(permits as u32);
        }
        match request["label"].as_str() {
            Some(label) => lock.label(label),
            None => lock,
        }
    }

    fn keep(&self, name: &str, lease: Option<Lease>) -> Value {
        let answer = json!({"lease": lease.as_ref().map(shown)});
        if let Some(lease) = lease {
            self.leases.borrow_mut().insert(name.to_owned(), Rc::new(lease));
        }
        answer
    }
}

/// Cancelled as Rust does: the future is dropped where it stands.
async fn unless<T>(cancelled: oneshot::Receiver<()>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        Ok(()) = cancelled => None,
        done = work => Some(done),
    }
}

fn options(request: &Value) -> Options {
    let mut options = Options::new();
    if let Some(ttl) = span(request, "ttl") {
        options = options.ttl(ttl);
    }
    if let Some(wait) = span(request, "wait") {
        options = options.wait(wait);
    }
    if let Some(max_hold) = span(request, "max_hold") {
        options = options.max_hold(max_hold);
    }
    match request["label"].as_str() {
        Some(label) => options.label(label),
        None => options,
    }
}

fn span(request: &Value, key: &str) -> Option<Duration> {
    request[key].as_f64().map(Duration::from_secs_f64)
}

fn shown(lease: &Lease) -> Value {
    json!({
        "fence": lease.fence(),
        "ttl": lease.ttl().as_secs_f64(),
        "remaining": lease.remaining().as_secs_f64(),
        "valid": lease.is_valid(),
        "lost": lease.loss().map(why),
        "key": lease.key(),
        "slot": lease.slot(),
    })
}

fn shown_status(status: &Status) -> Value {
    json!({
        "fence": status.fence,
        "holder": status.holder().map(|holder| &*holder.label),
        "waiters": status.waiters.iter().map(|label| &**label).collect::<Vec<_>>(),
    })
}

fn why(loss: Loss) -> &'static str {
    match loss {
        Loss::Expired => "expired",
        Loss::Gone => "gone",
        Loss::MaxHold => "max_hold",
        Loss::Closed => "closed",
        _ => "unknown here",
    }
}

fn error(error: Error) -> Value {
    let outcome = error.outcome().code();
    failure(error.code(), Some(outcome), &error.to_string())
}

fn failure(code: &str, outcome: Option<&str>, message: &str) -> Value {
    json!({"code": code, "outcome": outcome, "message": message})
}

fn say(line: Value) {
    let mut out = std::io::stdout().lock();
    // Nobody listens when the scenario is over.
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}
