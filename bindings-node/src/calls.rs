//! Calls of the core that JavaScript waits for. They run on the thread of their
//! client, so that they go on while JavaScript is busy. What comes of them is
//! queued here, and one bell, a threadsafe function, has JavaScript take it. None
//! of it outlives its environment: the end of a worker cancels what it waits for.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use leasehold::runtime::{Runtime, ThreadRuntime};
use leasehold::{Error, Kind};
use napi::bindgen_prelude::{FnArgs, Function};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode as Mode};
use napi::{Env, Status as Code, sys};
use napi_derive::napi;
use tokio::sync::oneshot;

use crate::client::{Client, Place};
use crate::values::{Answer, Failure, Settings, Settled};

/// Does not keep the process alive by itself.
type Bell = ThreadsafeFunction<(), (), FnArgs<(Vec<Settled>,)>, Code, false, true>;

/// The calls of one environment: the main thread of Node, or a worker.
pub(crate) struct Shared {
    bell: OnceLock<Bell>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_over: bool,
    /// Calls that are waited for. Dropping the sender cancels the call.
    waiting: HashMap<i64, oneshot::Sender<()>>,
    done: Vec<(i64, Answer)>,
    /// What is to be closed when the process ends.
    open: Vec<Weak<Place>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn start(
        self: &Arc<Self>,
        id: i64,
        runtime: &ThreadRuntime,
        work: impl Future<Output = Answer> + Send + 'static,
    ) {
        let (cancel, cancelled) = oneshot::channel();
        self.state().waiting.insert(id, cancel);
        let reply = Reply { shared: self.clone(), id, answer: None };
        runtime.spawn(Box::pin(async move {
            reply.give(tokio::select! {
                biased;
                _ = cancelled => None,
                answer = work => Some(answer),
            });
        }));
    }

    /// Forget a call; answers whether it was waited for.
    fn end(&self, id: i64) -> bool {
        self.state().waiting.remove(&id).is_some()
    }

    /// Queue what came of a call. Of one that was cancelled nothing is kept: a
    /// lease that is dropped is given back.
    fn say(&self, id: i64, answer: Answer) {
        let mut state = self.state();
        if state.is_over || !state.waiting.contains_key(&id) {
            // Outside of the lock, for it does things.
            drop(state);
            return drop(answer);
        }
        state.done.push((id, answer));
        let is_first = state.done.len() == 1;
        drop(state);
        if let Some(bell) = self.bell.get().filter(|_| is_first) {
            bell.call((), Mode::NonBlocking);
        }
    }

    /// What has come, for JavaScript.
    fn take(&self) -> Vec<Settled> {
        let done = std::mem::take(&mut self.state().done);
        let done = done.into_iter().filter(|(id, _)| self.end(*id));
        done.map(|(id, answer)| Settled::new(id, answer)).collect()
    }

    fn opened(&self, place: &Arc<Place>) {
        let open = &mut self.state().open;
        open.retain(|place| place.strong_count() > 0);
        open.push(Arc::downgrade(place));
    }
}

/// Answers when it is dropped, so also when the work panics or is never begun.
struct Reply {
    shared: Arc<Shared>,
    id: i64,
    answer: Option<Answer>,
}

impl Reply {
    fn give(mut self, answer: Option<Answer>) {
        self.answer = answer;
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let none = || Err(Error::new(Kind::Internal, "a call ended without an answer"));
        self.shared.say(self.id, self.answer.take().unwrap_or_else(none));
    }
}

/// Dropped by Node with the bell, when the environment ends.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_over = true;
        let rest = (std::mem::take(&mut state.waiting), std::mem::take(&mut state.done));
        drop(state);
        drop(rest);
    }
}

#[napi]
pub struct Calls {
    shared: Arc<Shared>,
}

#[napi]
impl Calls {
    /// `settle` is called with all that has come of calls since the last time.
    #[napi(constructor)]
    pub fn new(settle: Function<'_, FnArgs<(Vec<Settled>,)>, ()>) -> napi::Result<Self> {
        let shared = Arc::new(Shared { bell: OnceLock::new(), state: Mutex::default() });
        let closing = Closing(shared.clone());
        let bell = settle.build_threadsafe_function().weak::<true>();
        let bell = bell.build_callback(move |_| Ok(((closing.0.take()),).into()))?;
        let _ = shared.bell.set(bell);
        Ok(Self { shared })
    }

    /// Nothing comes of this call any more, and nothing is left behind by it.
    #[napi]
    pub fn cancel(&self, id: i64) {
        self.shared.end(id);
    }

    /// Whether somebody waits, so that the process must go on.
    #[napi]
    #[allow(unsafe_code)] // the binding's own way to say it needs the bell for itself
    pub fn keep_alive(&self, env: Env, is_needed: bool) {
        let Some(bell) = self.shared.bell.get() else { return };
        let set = match is_needed {
            true => sys::napi_ref_threadsafe_function,
            false => sys::napi_unref_threadsafe_function,
        };
        // SAFETY: JavaScript calls, so this is the thread of the bell's environment,
        // which closes the bell when it ends and runs nothing after that.
        unsafe { set(env.raw(), bell.raw()) };
    }

    /// Connect to the backend that the URL names. A failure is of what was given.
    #[napi]
    pub fn connect(&self, id: i64, url: String, settings: Settings) -> Option<Failure> {
        match Place::new(self.shared.clone(), &url, settings) {
            Ok(place) => {
                self.shared.opened(&place);
                Client::new(place).connect(id);
                None
            }
            Err(error) => Some(error.into()),
        }
    }

    /// The clients that somebody still has, or a lock or a lease of. Each is told once.
    #[napi]
    pub fn open(&self) -> Vec<Client> {
        let open = std::mem::take(&mut self.shared.state().open);
        open.iter().filter_map(Weak::upgrade).map(Client::new).collect()
    }
}
