//! Calls of the core that JavaScript waits for. They are polled on its own thread,
//! at first while it begins them, and their answers are read and told there, too, if Node's
//! event loop can watch for them. Other threads only note which can go on, and ring one
//! bell, a threadsafe function. None of it outlives its environment: the end of a worker
//! cancels what it waits for.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, ready};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use leasehold::host::Poller;
use leasehold::time::{Clock, Instant, SystemClock};
use leasehold::{Error, Kind, Options};
use napi::bindgen_prelude::{Either9 as Either, Function};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode as Mode};
use napi::{Env, Status as Code, sys};
use napi_derive::napi;

use crate::client::Client;
use crate::values::{Answer, Settings, Settled, with};
use crate::watch::{self, Callback, Watching};

/// So long answers may be told at once, one after the other, before the event loop
/// has its turn.
const TURN: Duration = Duration::from_millis(5);

/// Does not keep the process alive by itself.
type Rope = ThreadsafeFunction<(), (), (), Code, false, true>;

/// What other threads have of an environment. After its end it is silent.
struct Bell {
    rope: Rope,
    noted: Arc<Noted>,
}

/// Which calls can go on.
#[derive(Default)]
struct Noted(Mutex<Notes>);

#[derive(Default)]
struct Notes {
    ids: Vec<i64>,
    /// The event loop reads, and looks here when it has.
    is_turn: bool,
}

impl Noted {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_empty(&self) -> bool {
        self.notes().ids.is_empty()
    }

    /// Whether to ring for it.
    fn add(&self, id: i64) -> bool {
        let mut notes = self.notes();
        notes.ids.push(id);
        notes.ids.len() == 1 && !notes.is_turn
    }

    fn take(&self) -> Vec<i64> {
        std::mem::take(&mut self.notes().ids)
    }

    /// Read what has come, in the thread of the event loop. Whether calls can go on.
    fn read(&self, poller: &Poller) -> bool {
        self.notes().is_turn = true;
        safely(|| poller.turn());
        let mut notes = self.notes();
        notes.is_turn = false;
        !notes.ids.is_empty()
    }
}

/// Answers are read here, for as long as somebody has this.
pub(crate) struct Watched {
    poller: Arc<Poller>,
    _until_dropped: Watching,
}

type Work = dyn Future<Output = Answer>;

/// Wakes a call.
struct Ring {
    bell: Arc<Bell>,
    id: i64,
}

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        if self.bell.noted.add(self.id) {
            self.bell.rope.call((), Mode::NonBlocking);
        }
    }
}

/// A call that is waited for. Dropping it cancels it.
struct Call {
    work: Pin<Box<Work>>,
    waker: Waker,
    /// Whether the process must go on for it.
    is_needed: bool,
}

impl Call {
    fn poll(&mut self, watched: Option<&Watched>) -> Poll<Answer> {
        let mut context = Context::from_waker(&self.waker);
        let work = AssertUnwindSafe(|| match watched {
            Some(watched) => watched.poller.poll(self.work.as_mut(), &mut context),
            None => self.work.as_mut().poll(&mut context),
        });
        let bug = || Err(Error::new(Kind::Internal, "a call ended without an answer"));
        catch_unwind(work).unwrap_or_else(|_| Poll::Ready(bug()))
    }
}

/// Node would not survive a panic.
fn safely(work: impl FnOnce()) {
    drop(catch_unwind(AssertUnwindSafe(work)));
}

fn end<T>(work: T) {
    safely(|| drop(work));
}

/// The calls of one environment: the main thread of Node, or a worker. Nothing here
/// is borrowed while a call is polled or dropped, for that does things.
pub(crate) struct Shared {
    env: Env,
    bell: Arc<Bell>,
    /// What the event loop calls when it has read; none where it cannot watch.
    tell: Option<Rc<Callback>>,
    watched: RefCell<Weak<Watched>>,
    waiting: RefCell<HashMap<i64, Call>>,
    /// How many of them are needed.
    needed: Cell<usize>,
    /// Since when JavaScript waits for a turn of its event loop.
    turn_awaited: Cell<Option<Instant>>,
    /// Calls whose answers are told then.
    put_off: RefCell<Vec<i64>>,
}

impl Shared {
    /// Begin a call; answers what came of it, unless that is to be waited for.
    pub(crate) fn start(
        &self,
        id: i64,
        is_needed: bool,
        work: impl Future<Output = Answer> + 'static,
    ) -> Option<Settled> {
        let waker = Waker::from(Arc::new(Ring { bell: self.bell.clone(), id }));
        let settled = self.go_on(id, Call { work: Box::pin(work), waker, is_needed }, true);
        self.keep_alive();
        settled
    }

    fn go_on(&self, id: i64, mut call: Call, is_new: bool) -> Option<Settled> {
        let watched = self.watched.borrow().upgrade();
        let Poll::Ready(answer) = call.poll(watched.as_deref()) else {
            self.wait(id, call);
            return None;
        };
        let is_late = |since| SystemClock.now().since(since) >= TURN;
        if is_new && self.turn_awaited.get().is_some_and(is_late) {
            self.put_off.borrow_mut().push(id);
            let done = std::mem::replace(&mut call.work, Box::pin(ready(answer)));
            end(done);
            self.wait(id, call);
            return None;
        }
        end(call);
        Some(Settled::new(id, answer))
    }

    /// Have answers read here from now on, if that can be.
    fn watch(&self) -> Option<Rc<Watched>> {
        if let Some(watched) = self.watched.borrow().upgrade() {
            return Some(watched);
        }
        let tell = self.tell.clone()?;
        let poller = Arc::new(Poller::new().ok()?);
        let turn = {
            let (noted, poller) = (self.bell.noted.clone(), poller.clone());
            Rc::new(move || noted.read(&poller))
        };
        let _until_dropped = watch::begin(self.env, poller.as_raw_fd(), turn, tell)?;
        let watched = Rc::new(Watched { poller, _until_dropped });
        self.watched.replace(Rc::downgrade(&watched));
        Some(watched)
    }

    fn wait(&self, id: i64, call: Call) {
        self.needed.update(|needed| needed + usize::from(call.is_needed));
        self.waiting.borrow_mut().insert(id, call);
    }

    fn go_on_with(&self, ids: Vec<i64>) -> Vec<Settled> {
        let go_on = |id| self.go_on(id, self.take(id)?, false);
        let settled = ids.into_iter().filter_map(go_on).collect();
        self.keep_alive();
        settled
    }

    fn take(&self, id: i64) -> Option<Call> {
        let call = self.waiting.borrow_mut().remove(&id)?;
        self.needed.update(|needed| needed - usize::from(call.is_needed));
        Some(call)
    }

    /// Have the process go on while somebody waits, or is about to be told.
    #[allow(unsafe_code)] // the binding's own way to say it needs the bell for itself
    fn keep_alive(&self) {
        let is_needed = self.needed.get() > 0 || !self.bell.noted.is_empty();
        let set = match is_needed {
            true => sys::napi_ref_threadsafe_function,
            false => sys::napi_unref_threadsafe_function,
        };
        // SAFETY: JavaScript calls, so this is the thread of the rope's environment,
        // which closes the rope when it ends and runs nothing after that.
        unsafe { set(self.env.raw(), self.bell.rope.raw()) };
    }
}

#[napi]
pub struct Calls {
    shared: Rc<Shared>,
}

#[napi]
impl Calls {
    /// `ring` is called when calls that were waited for can go on. `can_watch`: the event
    /// loop is that of Node.
    #[napi(constructor)]
    pub fn new(env: Env, ring: Function<'_, (), ()>, can_watch: bool) -> napi::Result<Self> {
        let rope = ring.build_threadsafe_function().weak::<true>().build()?;
        let tell = if can_watch { Callback::new(env, &ring).map(Rc::new) } else { None };
        let bell = Arc::new(Bell { rope, noted: Arc::default() });
        let (watched, waiting, needed, turn_awaited, put_off) = Default::default();
        let shared = Shared { env, bell, tell, watched, waiting, needed, turn_awaited, put_off };
        Ok(Self { shared: Rc::new(shared) })
    }

    /// Let those go on; answers what came of them.
    #[napi]
    pub fn go_on(&self) -> Vec<Settled> {
        let calls = &self.shared;
        // Who is noted from here on rings again.
        calls.go_on_with(calls.bell.noted.take())
    }

    /// JavaScript has given answers that were there at once, and says when its event
    /// loop has had its next turn.
    #[napi]
    pub fn await_turn(&self) {
        self.shared.turn_awaited.set(Some(SystemClock.now()));
    }

    /// It has had it; answers what was put off until then.
    #[napi]
    pub fn turn(&self) -> Vec<Settled> {
        self.shared.turn_awaited.set(None);
        self.shared.go_on_with(self.shared.put_off.take())
    }

    /// Nothing comes of this call any more, and nothing is left behind by it.
    #[napi]
    pub fn cancel(&self, id: i64) {
        self.shared.take(id).into_iter().for_each(end);
        self.shared.keep_alive();
    }

    /// Connect to the backend that the URL names.
    #[napi]
    pub fn connect(&self, id: i64, url: String, settings: Settings) -> Option<Settled> {
        let calls = self.shared.clone();
        self.shared.start(id, true, async move {
            let core = with!(Options::new(), settings, label).client(&url)?;
            core.connect().await?;
            let watched = calls.watch();
            Ok(Some(Either::E(Client::new(core, calls, watched))))
        })
    }
}

impl Drop for Calls {
    /// The environment ends.
    fn drop(&mut self) {
        self.shared.waiting.take().into_values().for_each(end);
    }
}
