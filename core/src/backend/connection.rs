//! Keeping a connection to a server: one at a time, made anew when it breaks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, watch};

use crate::error::{Error, Kind, Outcome};
use crate::runtime::Runtime;

/// How one kind of connection is made.
#[async_trait]
pub(super) trait Dial: Send + Sync + 'static {
    /// What requests use.
    type Session: Clone + Send + Sync + 'static;

    /// Connect. `number` counts the attempts, from 1.
    async fn open(&mut self, number: u64) -> Result<(Self::Session, Driver), Error>;

    /// Connected not for the first time: messages may have been missed.
    fn reconnected(&self);
}

/// What keeps a connection going; it ends with it, and tells why.
pub(super) type Driver = Pin<Box<dyn Future<Output = String> + Send>>;

/// The pause after the first and after many failures to connect.
const PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// This part of it is kept however many ask.
const FIRM: f64 = 0.25;
/// A connection that lasted this long was a good one.
const STABLE: Duration = Duration::from_secs(1);

/// Dropped, it closes what is open.
pub(super) struct Connection<S> {
    state: watch::Receiver<State<S>>,
    /// Rung by a request that finds no session: pause for no longer than need be.
    hurry: Arc<Notify>,
    _alive: watch::Sender<()>,
}

enum State<S> {
    Up(S),
    Down { failures: u64, why: Error },
}

impl<S: Clone + Send + Sync + 'static> Connection<S> {
    /// Begin to connect.
    pub(super) fn start(dial: impl Dial<Session = S>, runtime: Arc<dyn Runtime>) -> Self {
        let unborn = State::Down { failures: 0, why: Error::unavailable("") };
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
            State::Down { why, .. } => Err(why.again()),
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
            Ok(State::Down { why, .. }) => Err(why.again()),
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
            match caught(self.dial.open(number)).await.flatten() {
                Ok((session, driver)) => {
                    let began = self.runtime.now();
                    self.state.send_replace(State::Up(session));
                    if number > 1 {
                        self.dial.reconnected();
                    }
                    let ended = caught(driver).await.map_or_else(|e| e, Error::unavailable);
                    self.set_down(ended);
                    if self.runtime.now().since(began) >= STABLE {
                        pause = PAUSE;
                        continue;
                    }
                }
                Err(e) => self.set_down(e),
            }
            self.rest(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    fn set_down(&mut self, error: Error) {
        self.failures += 1;
        // Nothing was asked of it.
        let why = error.with_outcome(Outcome::NotHeld);
        self.state.send_replace(State::Down { failures: self.failures, why });
    }

    /// Clients that lost their server together do not come back together, and one
    /// whose requests are many does not come more often than others.
    async fn rest(&self, pause: Duration) {
        self.runtime.sleep(PAUSE.max(pause.mul_f64(FIRM))).await;
        let more = pause.mul_f64(self.runtime.random() as u16 as f64 / f64::from(u16::MAX));
        tokio::select! {
            () = self.runtime.sleep(more) => {}
            () = self.hurry.notified() => {}
        }
    }
}

/// What comes of it; a panic is a bug of ours, and an error for who waits.
pub(crate) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Error> {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        // What it was about is not looked at again.
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => {
                let said = panic.downcast_ref::<String>().map(String::as_str);
                let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
                let message = format!("a bug of Leasehold: {}", said.unwrap_or("it panicked"));
                Poll::Ready(Err(Error::new(Kind::Internal, message)))
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::runtime::ThreadRuntime;
    use crate::time::{Clock, SystemClock};

    /// To a server that lets in only every so manieth, and ends at once.
    struct Door {
        tried: Arc<AtomicU64>,
        opens: fn(u64) -> bool,
        panics: fn(u64) -> bool,
    }

    #[async_trait]
    impl Dial for Door {
        type Session = u64;

        async fn open(&mut self, number: u64) -> Result<(u64, Driver), Error> {
            self.tried.store(number, Ordering::SeqCst);
            assert!(!(self.panics)(number), "on purpose");
            match (self.opens)(number) {
                true => Ok((number, Box::pin(async { "closed at once".to_owned() }))),
                false => Err(Error::unavailable("closed")),
            }
        }

        fn reconnected(&self) {}
    }

    /// How often it tries to connect in a second while many ask all the time.
    async fn tried_in_a_second(opens: fn(u64) -> bool) -> u64 {
        let runtime = ThreadRuntime::start().unwrap();
        let tried = Arc::default();
        let door = Door { tried: Arc::clone(&tried), opens, panics: |_| false };
        let connection = Connection::start(door, runtime);
        let began = SystemClock.now();
        while SystemClock.now().since(began) < MAX_PAUSE {
            drop(connection.session().await);
        }
        tried.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn attempts_to_connect_back_off_however_many_ask() {
        // 10, 10, 10, 20, 40, 80, 160, 250 ms apart.
        let tried = tried_in_a_second(|_| false).await;
        assert!((4..=12).contains(&tried), "refused {tried} times");
        let tried = tried_in_a_second(|_| true).await;
        assert!((4..=12).contains(&tried), "let in {tried} times");
    }

    #[tokio::test]
    async fn a_panic_while_connecting_is_an_error_and_the_next_attempt_goes_on() {
        let door = Door { tried: Arc::default(), opens: |_| false, panics: |number| number == 1 };
        let connection = Connection::start(door, ThreadRuntime::start().unwrap());
        let error = connection.session().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Internal);
        assert!(error.to_string().contains("on purpose"), "{error}");
        let next = connection.session().await.unwrap_err();
        assert_eq!(next.to_string(), "closed");
    }
}
