//! Keeping a connection to the server: one at a time, made anew when it breaks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

use super::address::Address;
use super::dial::{Dial, Session};
use super::inbox::News;
use crate::error::{Error, Kind};
use crate::runtime::Runtime;

/// The pause after the first and after many failures to connect.
const PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Dropped, it closes what is open.
pub(super) struct Connection {
    state: watch::Receiver<State>,
    /// Rung by a request that finds no session: do not pause any longer.
    hurry: Arc<Notify>,
    _alive: watch::Sender<()>,
}

enum State {
    Up(Session),
    Down { failures: u64, kind: Kind, why: String },
}

impl Connection {
    /// Begin to connect.
    pub(super) fn start(
        address: Arc<Address>,
        channel: Arc<str>,
        runtime: Arc<dyn Runtime>,
        news: mpsc::UnboundedSender<News>,
    ) -> Self {
        let unborn = State::Down { failures: 0, kind: Kind::Unavailable, why: String::new() };
        let (state, seen) = watch::channel(unborn);
        let (alive, mut gone) = watch::channel(());
        let hurry = Arc::new(Notify::new());
        let mut caretaker = Caretaker {
            address,
            channel,
            runtime: runtime.clone(),
            news,
            state,
            hurry: hurry.clone(),
            failures: 0,
            number: 0,
        };
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
    pub(super) fn session_now(&self) -> Result<Session, Error> {
        match &*self.state.borrow() {
            State::Up(session) => Ok(session.clone()),
            State::Down { failures: 0, .. } => Err(Error::unavailable("it is not connected yet")),
            State::Down { kind, why, .. } => Err(Error::new(*kind, why)),
        }
    }

    /// The session; without one, what comes of the attempt to connect that is
    /// under way.
    pub(super) async fn session(&self) -> Result<Session, Error> {
        let before = match &*self.state.borrow() {
            State::Up(session) => return Ok(session.clone()),
            State::Down { failures, .. } => *failures,
        };
        self.hurry.notify_one();
        let is_decided = |state: &State| match state {
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

struct Caretaker {
    address: Arc<Address>,
    channel: Arc<str>,
    runtime: Arc<dyn Runtime>,
    news: mpsc::UnboundedSender<News>,
    state: watch::Sender<State>,
    hurry: Arc<Notify>,
    failures: u64,
    /// The largest number of an epoch that was seen.
    number: u64,
}

impl Caretaker {
    async fn keep_connected(&mut self) {
        let mut pause = PAUSE;
        for number in 1.. {
            let runtime = self.runtime.clone();
            let dial = Dial {
                address: &self.address,
                channel: &self.channel,
                news: &self.news,
                runtime: &runtime,
                number: self.number,
            };
            match dial.open(number).await {
                Ok((session, drivers)) => {
                    // A server without a record is about to be given its first.
                    let seen = session.epoch.as_ref().map_or(0, |epoch| epoch.number.max(1));
                    self.number = self.number.max(seen);
                    self.state.send_replace(State::Up(session));
                    if number > 1 {
                        drop(self.news.send(News::Reconnected));
                    }
                    let why = drivers.run(&*runtime).await;
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
