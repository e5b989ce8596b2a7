//! `run`: wait for the lock, run the command while holding it, release.

use std::convert::Infallible;
use std::error::Error as _;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::{Client, Error, Kind, Leases, Loss, Options};
use rustix::process::Signal;

use crate::args::{OnLost, Run};
use crate::child::Child;
use crate::exit::{self, Failure};
use crate::signals::Signals;
use crate::{plan, show, tree, wait};

pub(crate) async fn run(url: &str, args: Run) -> Result<u8, Failure> {
    let mut session = Session::new(url, args)?;
    let code = session.run().await;
    session.clean_up().await;
    code
}

/// One `run` from its first signal to its last.
pub(crate) struct Session {
    args: Run,
    client: Client,
    /// The client's own, so that all timers here run on the lease's clock.
    runtime: Arc<dyn Runtime>,
    signals: Signals,
    /// The last signal that was passed on and by which programs are told to end.
    end: Option<Signal>,
    is_noted: bool,
}

/// How long what failed to be given back is tried again, before it is left to
/// its ttl (on the embedded backend it ends with this process).
const CLEAN_UP: Duration = Duration::from_secs(2);
/// How long nobody wonders what is going on.
const SILENCE: Duration = Duration::from_millis(500);

/// Whether the command is run.
enum Begun {
    Granted(Leases),
    /// It is not, and this is the exit code.
    Ended(u8),
}

pub(crate) enum Wait {
    Granted(Leases),
    Signal(Signal),
}

pub(crate) enum Work {
    Ended(u8),
    Lost(Loss),
}

impl Session {
    pub(crate) fn new(url: &str, args: Run) -> Result<Self, Failure> {
        let signals = Signals::listen().map_err(|e| Failure::system("cannot heed signals", &e))?;
        if args.on_lost == OnLost::Terminate && !tree::is_seen() {
            let message = "/proc does not show this process, so the command's descendants could not be stopped \
                           when the lease is lost; mount it, or let them go on with --on-lost=warn";
            return Err(Failure::new(exit::REFUSED, message));
        }
        let runtime = ThreadRuntime::start()?;
        // Connected by the wait for the lock: a server may come up later than this.
        let client = Options::new().runtime(runtime.clone()).client(url)?;
        Ok(Self { args, client, runtime, signals, end: None, is_noted: false })
    }

    async fn run(&mut self) -> Result<u8, Failure> {
        let lease = match self.begin().await? {
            Begun::Granted(lease) => lease,
            Begun::Ended(code) => return Ok(code),
        };
        self.note(&lease);
        let worked = self.work(&lease).await;
        if self.args.is_once() && matches!(worked, Ok(Work::Ended(exit::OK))) {
            lease.succeed();
        }
        let released = self.release(&lease).await;
        match worked? {
            Work::Ended(code) => Ok(self.ended(code, released)),
            // That it was lost was told already.
            Work::Lost(_) => Ok(exit::LOST),
        }
    }

    /// Tell once what is not as it was asked for.
    pub(crate) fn note(&mut self, lease: &Leases) {
        if std::mem::replace(&mut self.is_noted, true) {
            return;
        }
        let caveats = self.client.caveats();
        caveats.iter().for_each(|caveat| crate::say(&format!("note: {caveat}")));
        if let Some(ttl) = self.args.ttl.filter(|ttl| lease.ttl() != *ttl) {
            let raised = lease.ttl();
            crate::say(&format!("note: there is no ttl of {ttl:?} here; it is {raised:?}"));
        }
    }

    /// The signal by which the command was told to end, if it was.
    pub(crate) fn is_asked_to_end(&self) -> Option<Signal> {
        self.end
    }

    /// Wait a while; answers the signal that ends it sooner.
    pub(crate) async fn pause(&mut self, span: Duration) -> Option<Signal> {
        tokio::select! {
            biased;
            heard = self.signals.next() => Some(heard.signal),
            () = self.runtime.sleep(span) => None,
        }
    }

    /// The exit code when the command has ended by itself. It was no success if it
    /// was not under the lock; a failure of its own says more.
    pub(crate) fn ended(&self, code: u8, released: Result<(), leasehold::Error>) -> u8 {
        let Err(error) = released else { return code };
        if error.kind() != Kind::Lost {
            let again = match self.args.is_once() && code == exit::OK {
                true => ", and it may be run again before its interval is over",
                false => "",
            };
            crate::say(&format!("the lock may stay busy until its ttl has passed{again}: {error}"));
            return code;
        }
        crate::say(&format!("the command ended, but not under the lock: {error}"));
        match (code, self.args.on_lost) {
            (exit::OK, OnLost::Terminate) => exit::LOST,
            _ => code,
        }
    }

    pub(crate) async fn wait(&mut self) -> Result<Wait, Failure> {
        let locks = plan::locks(&self.client, &self.args);
        let (names, no_wait, mode) = (locks.names(), self.args.no_wait, self.args.mode());
        let acquire = async {
            match no_wait {
                true => locks.try_acquire().await,
                false => locks.acquire().await.map(Some),
            }
        };
        let lease = tokio::select! {
            biased;
            // Dropped, the acquire takes back what it asked for.
            heard = self.signals.next() => return Ok(Wait::Signal(heard.signal)),
            lease = acquire => lease.map_err(|error| self.not_granted(error))?,
            never = wait::tell_waiting(&self.client, names, mode, &*self.runtime) => match never {},
        };
        match lease {
            Some(lease) => Ok(Wait::Granted(lease)),
            None => Err(self.busy(names).await),
        }
    }

    /// Have what the command runs under.
    async fn begin(&mut self) -> Result<Begun, Failure> {
        let by_signal = exit::by_signal;
        if !self.args.is_once() {
            return Ok(match self.wait().await? {
                Wait::Granted(lease) => Begun::Granted(lease),
                Wait::Signal(signal) => Begun::Ended(by_signal(signal.as_raw())),
            });
        }
        let once = plan::once(&self.client, &self.args)?;
        let begun = tokio::select! {
            biased;
            // Dropped, it takes back what it asked for.
            heard = self.signals.next() => {
                return Ok(Begun::Ended(by_signal(heard.signal.as_raw())));
            }
            begun = once.begin() => begun?,
        };
        Ok(match begun {
            leasehold::Run::Ran(lease) => Begun::Granted(lease),
            leasehold::Run::Skipped { why, next_in } => {
                let next_in = show::span(next_in);
                crate::say(&format!("skipped: {why}; try again in {next_in}"));
                Begun::Ended(self.args.busy_exit())
            }
        })
    }

    async fn busy(&self, names: &[String]) -> Failure {
        // What was taken is given back, so that it is one of the others.
        let (name, holders) = wait::held_by_others(&self.client, names, self.args.mode()).await;
        let holder = show::held_by(&holders).map(|holder| format!(", {holder}"));
        let message = format!("lock {name:?} is busy{}", holder.unwrap_or_default());
        Failure::new(self.args.busy_exit(), message)
    }

    fn not_granted(&self, error: Error) -> Failure {
        match error.kind() {
            Kind::Timeout => Failure::new(self.args.busy_exit(), error.to_string()),
            _ => Failure::from(error),
        }
    }

    /// Run the command to its end, or until the lease is lost and it is stopped.
    pub(crate) async fn work(&mut self, lease: &Leases) -> Result<Work, Failure> {
        if !lease.is_valid() {
            return Err(Failure::new(exit::LOST, "the lease was lost before the command started"));
        }
        let env = environment(lease);
        let spawned = Child::spawn(&self.args.command, &env, lease.proof_of_life(), &self.signals);
        let mut child = spawned.map_err(|e| self.not_started(e))?;
        let work = self.watch(lease, &mut child).await;
        if let Work::Lost(loss) = work {
            // Nothing is written before they are dead: a full pipe or a stopped
            // terminal would keep us from killing them.
            let refused = self.stop(&mut child, self.patience(lease, loss)).await;
            let why = why(lease, loss);
            crate::say(&format!("lost the lease, stopped the command: {why}"));
            if refused > 0 {
                crate::say(&format!("{refused} processes of other users could not be stopped"));
            }
        }
        Ok(work)
    }

    async fn watch(&mut self, lease: &Leases, child: &mut Child) -> Work {
        let mut warned = false;
        loop {
            tokio::select! {
                biased;
                code = child.ended() => return Work::Ended(code),
                loss = lease.lost(), if !warned => match self.args.on_lost {
                    OnLost::Terminate => return Work::Lost(loss),
                    OnLost::Warn => {
                        warned = true;
                        let why = why(lease, loss);
                        crate::say(&format!("lost the lease, the command goes on: {why}"));
                    }
                },
                heard = self.signals.next() => {
                    if !matches!(heard.signal, Signal::USR1 | Signal::USR2) {
                        self.end = Some(heard.signal);
                    }
                    child.forward(heard);
                }
            }
        }
    }

    /// How long the command has to end by itself. A loss is reported 10 % of the ttl before
    /// the deadline: half of what is left is for the command, half for the kernel to end
    /// it. Without a lease somebody else may be at work already.
    fn patience(&self, lease: &Leases, loss: Loss) -> Duration {
        match loss {
            Loss::Expired | Loss::MaxHold => lease.watch().deadline().since(self.runtime.now()) / 2,
            _ => Duration::ZERO,
        }
    }

    /// SIGTERM now, SIGKILL after `patience`, until nobody is left. Answers how
    /// many could not be told.
    async fn stop(&mut self, child: &mut Child, patience: Duration) -> usize {
        let mut refused = child.signal_all(Signal::TERM);
        let mut pause = patience;
        let mut next_pause = Duration::from_millis(5);
        let mut is_killed = false;
        loop {
            tokio::select! {
                biased;
                () = child.all_ended() => return refused,
                // Who may not be stopped may work for ever; a signal ends the waiting for that.
                _ = self.signals.next(), if is_killed && refused > 0 => return refused,
                () = self.runtime.sleep(pause) => {}
            }
            // Again and again: what was just being forked is found by the next walk.
            refused = child.signal_all(Signal::KILL);
            is_killed = true;
            pause = next_pause;
            next_pause = (next_pause * 2).min(Duration::from_secs(1));
        }
    }

    fn not_started(&self, error: io::Error) -> Failure {
        let program = self.args.command.first();
        let program = program.map(|program| program.to_string_lossy()).unwrap_or_default();
        let what = format!("cannot run {program:?}");
        let code = match error.kind() {
            io::ErrorKind::NotFound => exit::NOT_FOUND,
            _ if exit::used_up(&error).is_some() => return Failure::system(&what, &error),
            _ => exit::NOT_EXECUTABLE,
        };
        Failure::new(code, format!("{what}: {error}"))
    }

    /// Give the lock back; a signal says that it takes too long.
    pub(crate) async fn release(&mut self, lease: &Leases) -> Result<(), leasehold::Error> {
        tokio::select! {
            biased;
            released = lease.release() => released,
            _ = self.signals.next() => Ok(()),
        }
    }

    /// Let the client finish what it does in the background. A signal that has ended what
    /// came before seems to have done nothing when this takes long, so that is said.
    pub(crate) async fn clean_up(&mut self) {
        let tell = async {
            self.runtime.sleep(SILENCE).await;
            crate::say(
                "the backend does not answer, and is asked for a moment longer to give the lock \
                 back; a signal ends that, and the lock then stays busy until its ttl has passed",
            );
            pending::<Infallible>().await
        };
        tokio::select! {
            biased;
            () = self.client.close() => {}
            _ = self.signals.next() => {}
            () = self.runtime.sleep(CLEAN_UP) => {}
            never = tell => match never {},
        }
    }
}

/// Why it was lost, and where it could not be renewed, why that was; of several, which.
fn why(lease: &Leases, loss: Loss) -> String {
    let error = lease.check().err();
    let why = match error.as_ref().and_then(|error| error.source()) {
        Some(cause) => format!("{loss}: {cause}"),
        None => loss.to_string(),
    };
    match lease.lost_name().filter(|_| lease.names().count() > 1) {
        Some(name) => format!("lock {name:?}: {why}"),
        None => why,
    }
}

/// What the command finds there; what an outer run has put there is not about these.
fn environment(leases: &Leases) -> Vec<(&'static str, Option<String>)> {
    let (fences, keys, slots) = (leases.fences(), leases.keys(), leases.slots());
    let one = match leases.names().count() {
        1 => leases.names().next(),
        _ => None,
    };
    vec![
        ("LEASEHOLD_NAME", one.map(str::to_owned)),
        ("LEASEHOLD_FENCE", one.and_then(|name| Some(fences.get(name)?.to_string()))),
        ("LEASEHOLD_KEY", one.and_then(|name| keys.get(name).cloned())),
        ("LEASEHOLD_FENCES", Some(serde_json::json!(fences).to_string())),
        ("LEASEHOLD_KEYS", (!keys.is_empty()).then(|| serde_json::json!(keys).to_string())),
        ("LEASEHOLD_SLOT", one.and_then(|name| Some(slots.get(name)?.to_string()))),
        ("LEASEHOLD_SLOTS", (!slots.is_empty()).then(|| serde_json::json!(slots).to_string())),
    ]
}
