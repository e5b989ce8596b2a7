//! Node's event loop watches for answers, so that they are read in the thread that
//! waits for them, and told there at once. Node has libuv with it, and gives its functions
//! to addons; where they are missing, as in other runtimes, the client's thread reads.
//! It watches while there are clients: under a test runner each file may have this package
//! anew, in one environment that goes on.
#![allow(unsafe_code)] // libuv's functions are C; nothing else here is unsafe

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int, c_void};
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{null, null_mut};
use std::rc::Rc;
use std::sync::OnceLock;

use napi::bindgen_prelude::{Function, JsValue};
use napi::{Env, Status as Code, sys};

type Handle = *mut c_void;
type OnReadable = unsafe extern "C" fn(Handle, c_int, c_int);
type OnClosed = unsafe extern "C" fn(Handle);

/// `UV_POLL` and `UV_READABLE` of `uv.h`, which are part of its stable ABI.
const POLL: c_int = 8;
const READABLE: c_int = 1;

/// Those functions of libuv 1.19 and later that are used here.
#[derive(Clone, Copy)]
struct Uv {
    handle_size: unsafe extern "C" fn(c_int) -> usize,
    set_data: unsafe extern "C" fn(Handle, *mut c_void),
    get_data: unsafe extern "C" fn(Handle) -> *mut c_void,
    poll_init: unsafe extern "C" fn(*mut c_void, Handle, c_int) -> c_int,
    poll_start: unsafe extern "C" fn(Handle, c_int, OnReadable) -> c_int,
    unref: unsafe extern "C" fn(Handle),
    close: unsafe extern "C" fn(Handle, OnClosed),
}

impl Uv {
    fn of_this_process() -> Option<Self> {
        static KNOWN: OnceLock<Option<Uv>> = OnceLock::new();
        *KNOWN.get_or_init(Self::find)
    }

    fn find() -> Option<Self> {
        // SAFETY: the types are those of `uv.h`.
        unsafe {
            Some(Self {
                handle_size: find(c"uv_handle_size")?,
                set_data: find(c"uv_handle_set_data")?,
                get_data: find(c"uv_handle_get_data")?,
                poll_init: find(c"uv_poll_init")?,
                poll_start: find(c"uv_poll_start")?,
                unref: find(c"uv_unref")?,
                close: find(c"uv_close")?,
            })
        }
    }
}

/// SAFETY: `T` is the type of the function with this name.
unsafe fn find<T: Copy>(name: &CStr) -> Option<T> {
    const { assert!(size_of::<T>() == size_of::<*mut c_void>()) };
    // SAFETY: the name ends with NUL.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    // SAFETY: a pointer to the function, as the caller says.
    (!found.is_null()).then(|| unsafe { std::mem::transmute_copy(&found) })
}

/// A function of JavaScript that the event loop calls.
pub(crate) struct Callback {
    env: sys::napi_env,
    function: sys::napi_ref,
    context: sys::napi_async_context,
}

impl Callback {
    pub(crate) fn new(env: Env, function: &Function<'_, (), ()>) -> Option<Self> {
        let (env, name) = (env.raw(), c"leasehold");
        let (mut label, mut context, mut kept) = (null_mut(), null_mut(), null_mut());
        // SAFETY: called by JavaScript, in the thread of its environment.
        let made = unsafe {
            is_ok(sys::napi_create_string_utf8(env, name.as_ptr(), -1, &mut label))
                && is_ok(sys::napi_create_reference(env, function.raw(), 1, &mut kept))
                && is_ok(sys::napi_async_init(env, null_mut(), label, &mut context))
        };
        made.then_some(Self { env, function: kept, context })
    }

    /// Call it, and then what JavaScript has to do after a callback.
    /// SAFETY: in the thread of the environment, called by its loop.
    unsafe fn call(&self) {
        let Self { env, function, context } = *self;
        let (mut scope, mut global, mut callee, mut thrown) =
            (null_mut(), null_mut(), null_mut(), null_mut());
        // SAFETY: all handles are of this scope. A JavaScript that is being ended answers
        // that it cannot run, and is told nothing.
        unsafe {
            if !is_ok(sys::napi_open_handle_scope(env, &mut scope)) {
                return;
            }
            if is_ok(sys::napi_get_global(env, &mut global))
                && is_ok(sys::napi_get_reference_value(env, function, &mut callee))
                && sys::napi_make_callback(env, context, global, callee, 0, null(), null_mut())
                    == sys::Status::napi_pending_exception
                && is_ok(sys::napi_get_and_clear_last_exception(env, &mut thrown))
            {
                sys::napi_fatal_exception(env, thrown);
            }
            sys::napi_close_handle_scope(env, scope);
        }
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        // SAFETY: whoever has it is dropped in the thread of the environment, at the latest
        // when that ends.
        unsafe {
            sys::napi_delete_reference(self.env, self.function);
            sys::napi_async_destroy(self.env, self.context);
        }
    }
}

fn is_ok(status: sys::napi_status) -> bool {
    Code::from(status) == Code::Ok
}

/// What is done when the descriptor is readable; whether JavaScript is then to be called.
type Turn = Rc<dyn Fn() -> bool>;

/// What belongs to a handle of libuv until that is closed.
struct Watch {
    uv: Uv,
    /// Until it is being closed: then the descriptor need not wait for the loop's next turn.
    turn: RefCell<Option<Turn>>,
    tell: Rc<Callback>,
    own: Rc<Cell<Handle>>,
    /// Room for the handle, aligned as `malloc` does it.
    _room: Vec<u128>,
    /// Set while the environment waits for the handle to be closed.
    ending: sys::napi_async_cleanup_hook_handle,
}

/// While the event loop watches. It ends with this, or with the environment.
pub(crate) struct Watching {
    uv: Uv,
    /// Null when it is being closed.
    handle: Rc<Cell<Handle>>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        close(self.uv, &self.handle);
    }
}

fn close(uv: Uv, handle: &Cell<Handle>) {
    let handle = handle.replace(null_mut());
    if !handle.is_null() {
        // SAFETY: in the thread of the loop, once, so its data is there. It is not watched
        // any more when this returns, and `closed` comes later.
        unsafe {
            (uv.close)(handle, closed);
            drop((*(uv.get_data)(handle).cast::<Watch>()).turn.take());
        }
    }
}

/// Have the event loop of this environment watch a descriptor, which `turn` keeps. `None`
/// where it cannot.
pub(crate) fn begin(
    env: Env,
    descriptor: RawFd,
    turn: Turn,
    tell: Rc<Callback>,
) -> Option<Watching> {
    let uv = Uv::of_this_process()?;
    let mut event_loop = null_mut();
    // SAFETY: called by JavaScript, in the thread of its environment.
    let found = unsafe { sys::napi_get_uv_event_loop(env.raw(), &mut event_loop) };
    if !is_ok(found) || event_loop.is_null() {
        return None;
    }
    // SAFETY: as `uv.h` has it: the room is as large as libuv says, stays where it is
    // until `closed`, and all of this happens in the thread of its loop.
    unsafe {
        let mut room = vec![0u128; (uv.handle_size)(POLL).div_ceil(size_of::<u128>())];
        let handle: Handle = room.as_mut_ptr().cast();
        if (uv.poll_init)(event_loop.cast(), handle, descriptor) != 0 {
            return None;
        }
        let own = Rc::new(Cell::new(handle));
        let turn = RefCell::new(Some(turn));
        let watch = Watch { uv, turn, tell, own: own.clone(), _room: room, ending: null_mut() };
        let watch = Box::into_raw(Box::new(watch));
        (uv.set_data)(handle, watch.cast());
        // What keeps the process alive is said elsewhere.
        (uv.unref)(handle);
        let watching = Watching { uv, handle: own };
        let ending = &raw mut (*watch).ending;
        let is_begun = (uv.poll_start)(handle, READABLE, readable) == 0
            && is_ok(sys::napi_add_async_cleanup_hook(env.raw(), Some(end), watch.cast(), ending));
        is_begun.then_some(watching)
    }
}

/// SAFETY: called by libuv with a handle of [`begin`].
unsafe extern "C" fn readable(handle: Handle, _status: c_int, _events: c_int) {
    let Some(uv) = Uv::of_this_process() else { return };
    // SAFETY: the handle's data is its watch, which lives until the handle is closed: not
    // before the loop that calls here goes on.
    unsafe {
        let watch = (uv.get_data)(handle).cast::<Watch>();
        let Some(turn) = (*watch).turn.borrow().clone() else { return };
        // Node would not survive a panic.
        if catch_unwind(AssertUnwindSafe(|| turn())).unwrap_or(true) {
            (*watch).tell.call();
        }
    }
}

/// The environment ends, and waits until the handle is closed.
/// SAFETY: called by Node with a watch of [`begin`], which lives until `closed` removes
/// this hook.
unsafe extern "C" fn end(_: sys::napi_async_cleanup_hook_handle, watch: *mut c_void) {
    // SAFETY: as said.
    unsafe {
        let watch = watch.cast::<Watch>();
        close((*watch).uv, &(*watch).own);
    }
}

/// SAFETY: called by libuv, once, with a handle of [`begin`], of which it has nothing more.
unsafe extern "C" fn closed(handle: Handle) {
    // SAFETY: the data is the watch, which nobody else has.
    unsafe {
        let Some(uv) = Uv::of_this_process() else { return };
        let watch = Box::from_raw((uv.get_data)(handle).cast::<Watch>());
        if !watch.ending.is_null() {
            sys::napi_remove_async_cleanup_hook(watch.ending);
        }
    }
}
