//! Keeping a connection to a server: one at a time, made anew when it breaks.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, watch};

use crate::error::{Error, Kind};
use crate::runtime::Runtime;

/// How one kind of connection is made.
#[async_trait]
pub(super) trait Dial: Send + Sync + 'static {
    /// What requests use.
    type Session: Clone + Send + Sync + 'static;

    /// Connect, for the so manieth time.
    async fn open(&mut self, number: u64) -> Result<(Self::Session, Driver), Error>;

    /// Connected not for the first time: messages may have been missed.
    fn reconnected(&self);
}

/// What keeps a connection going; it ends with it, and tells why.
pub(super) type Driver = Pin<Box<dyn Future<Output = String> + Send>>;

/// The pause after the first and after many failures to connect.
const PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Dropped, it closes what is open.
pub(super) struct Connection<S> {
    state: watch::Receiver<State<S>>,
    /// Rung by a request that finds no session: do not pause any longer.
    hurry: Arc<Notify>,
    _alive: watch::Sender<()>,
}

enum State<S> {
    Up(S),
    Down { failures: u64, kind: Kind, why: String },
}

impl<S: Clone + Send + Sync + 'static> Connection<S> {
    /// Begin to connect.
    pub(super) fn start(dial: impl Dial<Session = S>, runtime: Arc<dyn Runtime>) -> Self {
        let unborn = State::Down { failures: 0, kind: Kind::Unavailable, why: String::new() };
        let (state, seen) = watch::channel(unborn);
        let (alive, mut gone) = watch::channel(());
        let hurry = Arc::new(Notify::new());
        let (clock, bell) = (runtime.clone(), hurry.clone());
        let mut caretaker = Caretaker { dial, runtime: clock, state, hurry: bell, failures: 0 };
        runtime.spawn(Box::pin(async move {
            tokio::select! {
                biased;
                _ = gone.changed() => {}
                () = caretaker.keep_connected() => {}
            }
        }));
        Self { state: seen, hurry, _alive: alive }
    }

    /// The session, if there is one now.
    pub(super) fn session_now(&self) -> Result<S, Error> {
        match &*self.state.borrow() {
            State::Up(session) => Ok(session.clone()),
            State::Down { failures: 0, .. } => Err(Error::unavailable("it is not connected yet")),
            State::Down { kind, why, .. } => Err(Error::new(*kind, why)),
        }
    }

    /// The session; without one, what comes of the attempt to connect that is
    /// under way.
    pub(super) async fn session(&self) -> Result<S, Error> {
        let before = match &*self.state.borrow() {
            State::Up(session) => return Ok(session.clone()),
            State::Down { failures, .. } => *failures,
        };
        self.hurry.notify_one();
        let is_decided = |state: &State<S>| match state {
            State::Up(_) => true,
            State::Down { failures, .. } => *failures > before,
        };
        let mut state = self.state.clone();
        match state.wait_for(is_decided).await.as_deref() {
            Ok(State::Up(session)) => Ok(session.clone()),
            Ok(State::Down { kind, why, .. }) => Err(Error::new(*kind, why)),
            Err(_) => Err(Error::unavailable("the client's thread has ended")),
        }
    }
}

struct Caretaker<D: Dial> {
    dial: D,
    runtime: Arc<dyn Runtime>,
    state: watch::Sender<State<D::Session>>,
    hurry: Arc<Notify>,
    failures: u64,
}

impl<D: Dial> Caretaker<D> {
    async fn keep_connected(&mut self) {
        let mut pause = PAUSE;
        for number in 1.. {
            match self.dial.open(number).await {
                Ok((session, driver)) => {
                    self.state.send_replace(State::Up(session));
                    if number > 1 {
                        self.dial.reconnected();
                    }
                    let why = driver.await;
                    self.set_down(Error::unavailable(why));
                    pause = PAUSE;
                }
                Err(e) => {
                    self.set_down(e);
                    self.rest(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    }

    fn set_down(&mut self, error: Error) {
        self.failures += 1;
        let (kind, why) = (error.kind(), error.to_string());
        self.state.send_replace(State::Down { failures: self.failures, kind, why });
    }

    /// Clients that lost their server together do not come back together.
    async fn rest(&self, pause: Duration) {
        self.runtime.sleep(PAUSE).await;
        let more = pause.mul_f64(self.runtime.random() as u16 as f64 / f64::from(u16::MAX));
        tokio::select! {
            () = self.runtime.sleep(more) => {}
            () = self.hurry.notified() => {}
        }
    }
}
