//! What this process was started with, as far as it changes that: the command is to
//! have it as it was given to us, as by `env` or `nice`.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static IS_PIPE_IGNORED: AtomicBool = AtomicBool::new(false);

/// Before `main` Rust has SIGPIPE ignored, and does not tell whether it was. This is
/// before that.
#[used]
#[allow(unsafe_code)] // the linker's way to have a function called
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    let before = ignore(Signal::SIGPIPE).map(|before| before.handler());
    IS_PIPE_IGNORED.store(matches!(before, Ok(SigHandler::SigIgn)), Ordering::Relaxed);
}

/// Have a child of ours ignore, before its exec, what we were started to ignore and are not
/// ignoring, or what Rust has it not ignore: `ignored` is that of /proc at our start.
/// It makes only system calls.
pub(crate) fn ignore_again(ignored: u64) -> io::Result<()> {
    if IS_PIPE_IGNORED.load(Ordering::Relaxed) {
        ignore(Signal::SIGPIPE)?;
    }
    // Whose handler we have: it would be the default after the exec.
    if ignored & (1 << (Signal::SIGCHLD as i32 - 1)) != 0 {
        ignore(Signal::SIGCHLD)?;
    }
    Ok(())
}

#[allow(unsafe_code)]
fn ignore(signal: Signal) -> nix::Result<SigAction> {
    let ignoring = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: no code of ours is made a handler.
    unsafe { sigaction(signal, &ignoring) }
}
