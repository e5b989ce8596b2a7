//! The native part of the Node package. Types are converted here, and calls are
//! waited for; what a lock does is in the core, and how it looks to JavaScript in
//! `index.js` and `lib`.

use std::io::{stderr, stdin, stdout};

use napi_derive::napi;
use rustix::io::{FdFlags, fcntl_setfd};

mod calls;
mod client;
mod values;

/// The command line; answers its exit code.
#[napi]
pub fn main(arguments: Vec<String>) -> u32 {
    let (none, (input, output, error)) = (FdFlags::empty(), (stdin(), stdout(), stderr()));
    // Node has its children inherit none of them; the command is to have them all. One
    // that is closed stays closed.
    let _ = (fcntl_setfd(input, none), fcntl_setfd(output, none), fcntl_setfd(error, none));
    leasehold_cli::main(arguments).into()
}
