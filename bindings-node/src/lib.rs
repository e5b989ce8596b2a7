//! The native part of the Node package. Types are converted here, and calls are
//! waited for; what a lock does is in the core, and how it looks to JavaScript in
//! `index.js` and `lib`.

mod calls;
mod client;
mod values;
mod watch;
